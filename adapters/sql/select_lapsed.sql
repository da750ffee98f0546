SELECT id, account_id, group_id
FROM tasks
WHERE status IN ('running', 'cancelling')
    AND lease_until < clock_timestamp()
ORDER BY lease_until
LIMIT %b
FOR NO KEY UPDATE SKIP LOCKED
