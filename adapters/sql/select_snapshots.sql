SELECT newest.topic, newest.state
FROM unnest(%b::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT s.topic, s.state
    FROM tallystick_snapshots AS s
    WHERE s.originator_id = wanted.id
    ORDER BY s.originator_version DESC
    LIMIT 1
) AS newest
