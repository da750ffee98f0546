-- Whole states of a ledger up to a version, the newest first: some snapshots, and the newest closed period.
SELECT topic, state
FROM (
    (
        SELECT originator_version, topic, state
        FROM tallystick_snapshots
        WHERE originator_id = %(stream_id)s AND originator_version <= %(version)s
        ORDER BY originator_version DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT originator_version, topic, state
        FROM tallystick_events
        WHERE originator_id = %(stream_id)s AND originator_version <= %(version)s AND topic LIKE 'books.closed.v%%'
        ORDER BY originator_version DESC
        LIMIT 1
    )
) AS kept
ORDER BY originator_version DESC
