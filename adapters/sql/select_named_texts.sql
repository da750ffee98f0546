SELECT DISTINCT found[1]
FROM (
    SELECT input::text AS document FROM tasks WHERE status IN ('queued', 'backoff', 'running', 'cancelling')
    UNION ALL
    SELECT data::text FROM documents WHERE kind = 'schedule' AND status <> 'deleted'
    UNION ALL
    SELECT convert_from(e.state, 'UTF8')
    FROM documents AS d
    JOIN tallystick_events AS e ON e.originator_id = d.id AND e.originator_version = 1
    WHERE d.kind = 'group' AND d.status NOT IN ('completed', 'partial', 'failed', 'cancelled')
) AS needed,
    regexp_matches(document, '"((?:[^"\\]|\\.)+)"', 'g') AS found
WHERE length(found[1]) <= %(length_max)s
LIMIT %(limit)s
