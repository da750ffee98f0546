-- How a hold ended, what was refunded of it, and where a grant came from, found by id for as long as the log is kept.
-- An id stands in the stored JSON behind its name, which no text can hold unescaped: 36 bytes behind 11, or 12.
CREATE INDEX tallystick_events_holds_idx
ON tallystick_events (substring(state FROM position('"hold_id":"'::bytea IN state) + 11 FOR 36))
WHERE
    topic LIKE 'credits.captured.%'
    OR topic LIKE 'credits.released.%'
    OR topic LIKE 'credits.hold_expired.%'
    OR topic LIKE 'credits.refunded.%';

CREATE INDEX tallystick_events_grants_idx
ON tallystick_events (substring(state FROM position('"grant_id":"'::bytea IN state) + 12 FOR 36))
WHERE topic LIKE 'credits.granted.%';

-- Credits that were given back of what a hold's capture charged.
CREATE FUNCTION refunded_of(hold text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum((convert_from(state, 'UTF8')::json ->> 'amount')::bigint), 0)::bigint
    FROM tallystick_events
    WHERE
        substring(state FROM position('"hold_id":"'::bytea IN state) + 11 FOR 36) = convert_to(hold, 'UTF8')
        AND topic LIKE 'credits.refunded.%'
$$;
