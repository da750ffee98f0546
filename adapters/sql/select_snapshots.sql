SELECT wanted.id, kept.topic, kept.state
FROM unnest(%b::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    (
        SELECT s.originator_version, s.topic, s.state, 0 AS place
        FROM tallystick_snapshots AS s
        WHERE s.originator_id = wanted.id
        ORDER BY s.originator_version DESC
        LIMIT %b
    )
    UNION ALL
    (
        SELECT e.originator_version, e.topic, e.state, 1
        FROM tallystick_events AS e
        WHERE e.originator_id = wanted.id AND e.topic LIKE 'books.closed.v%%'
        ORDER BY e.originator_version DESC
        LIMIT 1
    )
) AS kept
ORDER BY wanted.id, kept.originator_version DESC, kept.place
