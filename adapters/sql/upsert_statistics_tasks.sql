INSERT INTO statistics_v2_tasks (position, id, type, due_at, started_at)
SELECT *
FROM unnest(%b, %b, %b, %b, %b)
ON CONFLICT (id) DO UPDATE SET
    position = excluded.position,
    due_at = excluded.due_at,
    started_at = excluded.started_at
