SELECT notification_id, originator_id, topic, state
FROM (
    SELECT e.*, sum(e.bytes) OVER (ORDER BY e.notification_id) - e.bytes AS bytes_before
    FROM (
        SELECT n.*, coalesce(octet_length(n.state), 0) AS bytes
        FROM (
            SELECT
                notification_id, originator_id, topic,
                CASE WHEN topic <> ALL (%(ignored)b) THEN state END AS state
            FROM tallystick_events
            WHERE notification_id > %(after)s
            ORDER BY notification_id
            LIMIT %(limit)s
        ) AS n
    ) AS e
) AS f
WHERE bytes_before < %(bytes_max)s
ORDER BY notification_id
