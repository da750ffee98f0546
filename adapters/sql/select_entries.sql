SELECT notification_id, originator_id, topic, state
FROM (
    SELECT
        e.*,
        sum(octet_length(e.state)) OVER (ORDER BY e.notification_id) - octet_length(e.state) AS bytes_before
    FROM (
        SELECT
            notification_id, originator_id, topic,
            CASE WHEN topic <> ALL (%(ignored)b) THEN state END AS state
        FROM tallystick_events
        WHERE notification_id > %(after)s
        ORDER BY notification_id
        LIMIT %(limit)s
    ) AS e
) AS f
WHERE bytes_before IS NULL OR bytes_before < %(bytes_max)s
ORDER BY notification_id
