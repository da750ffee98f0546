SELECT
    coalesce((SELECT position FROM tracking WHERE consumer = %(consumer)s), 0),
    (SELECT coalesce(max(notification_id), 0) FROM tallystick_events),
    (SELECT count(*) FROM parked_streams WHERE projection = %(consumer)s)
