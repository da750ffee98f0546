SELECT n.id, e.topic, e.state
FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS n (id, version)
CROSS JOIN LATERAL (
    SELECT e.originator_version, e.topic, e.state
    FROM tallystick_events AS e
    WHERE e.originator_id = n.id AND e.originator_version < n.version
    ORDER BY e.originator_version
    LIMIT %(limit)s
) AS e
ORDER BY n.id, e.originator_version
