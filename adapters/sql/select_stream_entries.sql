SELECT notification_id, originator_id, topic, CASE WHEN topic <> ALL (%(ignored)b) THEN state END
FROM tallystick_events
WHERE
    originator_id = %(stream_id)s
    AND notification_id BETWEEN %(first)s AND %(last)s
ORDER BY originator_version
LIMIT %(limit)s
