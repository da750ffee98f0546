SELECT id, account_id
FROM documents
WHERE kind = %(kind)s AND due_at <= clock_timestamp()
ORDER BY due_at
LIMIT %(limit)s
