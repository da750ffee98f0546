SELECT id
FROM tasks
WHERE id = ANY (%(ids)s)
    AND status IN ('completed', 'failed', 'cancelled')
