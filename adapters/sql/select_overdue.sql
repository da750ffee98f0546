SELECT id, account_id, group_id
FROM tasks
WHERE status IN ('queued', 'backoff', 'running', 'cancelling')
    AND deadline_at < clock_timestamp()
ORDER BY deadline_at
LIMIT %b
