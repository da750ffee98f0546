SELECT id, account_id FROM tasks WHERE id = ANY (%(ids)s)
UNION ALL
SELECT id, account_id FROM documents WHERE id = ANY (%(ids)s)
