SELECT notification_id, topic, state
FROM tallystick_events
WHERE originator_id = %(stream_id)s
    AND originator_version > %(after_version)s
    AND originator_version <= %(upto_version)s
ORDER BY originator_version
LIMIT %(limit)s
