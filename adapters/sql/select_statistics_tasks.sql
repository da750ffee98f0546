SELECT t.id, t.type, t.due_at, t.started_at
FROM unnest(%b::uuid[]) AS wanted (id)
JOIN statistics_v2_tasks AS t ON t.id = wanted.id
