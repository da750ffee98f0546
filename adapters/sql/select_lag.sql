SELECT
    c.position, head.position, due.topic, due.state, clock_timestamp(), parked.streams,
    EXISTS (
        SELECT FROM pg_locks
        WHERE
            locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32 | objid::bigint) = hashtextextended(%(lock)s, 0)
    ) AS led
FROM (SELECT coalesce((SELECT position FROM tracking WHERE consumer = %(consumer)s), 0) AS position) AS c
CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS position FROM tallystick_events) AS head
CROSS JOIN (SELECT count(*) AS streams FROM parked_streams WHERE projection = %(consumer)s) AS parked
LEFT JOIN LATERAL (
    SELECT e.topic, e.state
    FROM tallystick_events AS e
    WHERE e.notification_id > c.position
    ORDER BY e.notification_id
    LIMIT 1
) AS due ON true
