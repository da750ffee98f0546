SELECT id
FROM tasks
WHERE group_id = %b
    AND status NOT IN ('completed', 'failed', 'cancelled')
