SELECT id
FROM accounts
WHERE id = ANY (%(ids)s) AND due_at <= clock_timestamp()
