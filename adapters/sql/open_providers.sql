-- Forget closings that are over, and wake the workers for what waited.
WITH due AS (
    SELECT name FROM providers
    WHERE closed_until <= clock_timestamp()
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
),
opened AS (
    UPDATE providers AS p
    SET closed_until = NULL
    FROM due
    WHERE p.name = due.name AND p.closed_until <= clock_timestamp()
    RETURNING p.name
)
SELECT count(*), CASE WHEN count(*) > 0 THEN pg_notify('tallystick_events', 'queued')::text END FROM opened
