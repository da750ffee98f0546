SELECT e.originator_id, e.topic, e.state
FROM unnest(%b::uuid[], %b::bigint[]) AS known (id, version)
JOIN tallystick_events AS e ON e.originator_id = known.id AND e.originator_version > known.version
ORDER BY e.originator_id, e.originator_version
