SELECT originator_id, topic, state
FROM tallystick_events
ORDER BY originator_id, originator_version
