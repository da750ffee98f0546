-- Put tasks of accounts that are paused no more back into the index that claims read, and wake the workers.
WITH accounts_parked AS (
    WITH RECURSIVE steps AS (
        (
            SELECT account_id FROM tasks
            WHERE parked AND status IN ('queued', 'backoff') AND delayed_until = 'infinity'
            ORDER BY account_id LIMIT 1
        )
        UNION ALL
        SELECT n.account_id
        FROM steps AS s
        CROSS JOIN LATERAL (
            SELECT t.account_id FROM tasks AS t
            WHERE t.parked AND t.status IN ('queued', 'backoff') AND t.delayed_until = 'infinity'
                AND t.account_id > s.account_id
            ORDER BY t.account_id LIMIT 1
        ) AS n
    )
    SELECT account_id FROM steps
    EXCEPT
    SELECT account_id FROM documents WHERE kind = 'pause' AND status = 'paused' AND account_id IS NOT NULL
),
due AS (
    SELECT t.id
    FROM tasks AS t
    WHERE t.account_id IN (SELECT account_id FROM accounts_parked)
        AND t.parked AND t.status IN ('queued', 'backoff') AND t.delayed_until = 'infinity'
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
),
back AS (
    UPDATE tasks AS t
    SET delayed_until = CASE WHEN t.not_before > clock_timestamp() THEN t.not_before END, parked = false
    FROM due
    WHERE t.id = due.id
    RETURNING t.id
)
SELECT count(*), CASE WHEN count(*) > 0 THEN pg_notify('tallystick_events', 'queued')::text END FROM back
