SELECT notification_id, topic, state
FROM tallystick_events
WHERE notification_id = ANY (%(positions)s)
    AND originator_id = %(account_id)s
ORDER BY notification_id
