INSERT INTO tallystick_snapshots (originator_id, originator_version, topic, state)
SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[])
ON CONFLICT DO NOTHING
