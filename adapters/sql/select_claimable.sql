SELECT id
FROM tasks
WHERE status = 'queued'
    AND type = ANY (%b)
    AND (not_before IS NULL OR not_before <= clock_timestamp())
    AND id <> ALL (%b)
ORDER BY priority, queued_at, id
LIMIT %b
