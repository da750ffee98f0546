-- The type and the provider of a task, and how often its run has failed, if this attempt of it is the one under way.
SELECT t.type, n.provider, coalesce((t.data ->> 'failures')::bigint, 0)
FROM tasks AS t
JOIN provider_types AS n ON n.type = t.type
WHERE t.id = %(task_id)s
    AND t.token = %(token)s
    AND t.status IN ('running', 'cancelling')
