SELECT notification_id, topic, state
FROM (
    SELECT f.*, sum(octet_length(f.state)) OVER (ORDER BY f.notification_id) - octet_length(f.state) AS bytes_before
    FROM (
        SELECT e.notification_id, e.topic, e.state
        FROM tallystick_events AS e
        -- The limits keep each look-up a probe by id, however many tasks the account has had.
        LEFT JOIN LATERAL (SELECT t.account_id FROM tasks AS t WHERE t.id = e.originator_id LIMIT 1) AS t ON true
        LEFT JOIN LATERAL (SELECT d.account_id FROM documents AS d WHERE d.id = e.originator_id LIMIT 1) AS d ON true
        WHERE
            e.notification_id > %(after)s
            AND e.notification_id <= %(upto)s
            AND %(account_id)s IN (e.originator_id, t.account_id, d.account_id)
        ORDER BY e.notification_id
        LIMIT %(limit)s
    ) AS f
) AS w
WHERE bytes_before < %(bytes_max)s
ORDER BY notification_id
