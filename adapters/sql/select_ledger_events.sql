-- An account's facts right behind others: in the same append, though what time has brought may stand in between.
SELECT DISTINCT e.notification_id, e.topic, e.state
FROM unnest(%(positions)s::bigint[]) AS p (position)
JOIN tallystick_events AS e ON e.notification_id BETWEEN p.position AND p.position + %(width)s
WHERE e.originator_id = %(account_id)s
ORDER BY e.notification_id
