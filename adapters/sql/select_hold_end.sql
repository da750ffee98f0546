SELECT topic, state
FROM tallystick_events
WHERE
    substring(state FROM position('"hold_id":"'::bytea IN state) + 11 FOR 36) = %(hold)b
    AND (
        topic LIKE 'credits.captured.%%'
        OR topic LIKE 'credits.released.%%'
        OR topic LIKE 'credits.hold_expired.%%'
    )
    AND originator_id = %(account_id)b
ORDER BY originator_version DESC
LIMIT 1
