SELECT known.id, tail.topic, tail.state
FROM unnest(%b::uuid[], %b::bigint[]) AS known (id, version)
CROSS JOIN LATERAL (
    SELECT e.originator_version, e.topic, e.state
    FROM tallystick_events AS e
    WHERE e.originator_id = known.id AND e.originator_version > known.version
    ORDER BY e.originator_version
    LIMIT %b
) AS tail
ORDER BY known.id, tail.originator_version
