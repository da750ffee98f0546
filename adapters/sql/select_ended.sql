SELECT id
FROM tasks
WHERE id = ANY (%(ids)s)
    AND status IN ('completed', 'failed', 'cancelled')
UNION ALL
SELECT id
FROM documents
WHERE id = ANY (%(ids)s)
    AND kind = 'group'
    AND status IN ('completed', 'partial', 'failed', 'cancelled')
