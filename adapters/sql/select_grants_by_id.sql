SELECT topic, state
FROM tallystick_events
WHERE
    substring(state FROM position('"grant_id":"'::bytea IN state) + 12 FOR 36) = ANY (%(grants)b)
    AND topic LIKE 'credits.granted.%%'
    AND originator_id = %(account_id)b
ORDER BY originator_version
