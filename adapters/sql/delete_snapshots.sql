DELETE FROM tallystick_snapshots AS s
USING unnest(%b::uuid[]) AS written (id)
WHERE s.originator_id = written.id AND s.originator_version < (
    SELECT kept.originator_version
    FROM tallystick_snapshots AS kept
    WHERE kept.originator_id = written.id
    ORDER BY kept.originator_version DESC
    OFFSET %b - 1
    LIMIT 1
)
