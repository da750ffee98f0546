SELECT id
FROM accounts
WHERE due_at <= clock_timestamp()
ORDER BY due_at
LIMIT %b
