SELECT notification_id, originator_id, originator_version, topic, state
FROM tallystick_events
WHERE notification_id > %(after)s
ORDER BY notification_id
LIMIT %(limit)s
