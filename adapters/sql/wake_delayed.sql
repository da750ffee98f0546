WITH due AS (
    SELECT id
    FROM tasks
    WHERE status IN ('queued', 'backoff') AND delayed_until <= clock_timestamp()
    ORDER BY id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
),
woken AS (
    UPDATE tasks AS t
    SET delayed_until = NULL
    FROM due
    WHERE t.id = due.id
    RETURNING t.id
)
SELECT count(*), CASE WHEN count(*) > 0 THEN pg_notify('tallystick_events', 'queued')::text END FROM woken
