-- Put tasks of paused accounts aside, of those that stand first: a claim reads past them until they are out of its
-- index. Looks at so many of each type.
WITH paused AS (
    SELECT account_id FROM documents WHERE kind = 'pause' AND status = 'paused' AND account_id IS NOT NULL
),
types AS (
    WITH RECURSIVE steps AS (
        (
            SELECT type FROM tasks
            WHERE status IN ('queued', 'backoff') AND delayed_until IS NULL AND EXISTS (SELECT FROM paused)
            ORDER BY type LIMIT 1
        )
        UNION ALL
        SELECT n.type
        FROM steps AS s
        CROSS JOIN LATERAL (
            SELECT t.type FROM tasks AS t
            WHERE t.status IN ('queued', 'backoff') AND t.delayed_until IS NULL AND t.type > s.type
            ORDER BY t.type LIMIT 1
        ) AS n
    )
    SELECT type FROM steps
),
ahead AS (
    SELECT h.id
    FROM types AS w
    CROSS JOIN LATERAL (
        SELECT t.id, t.account_id
        FROM tasks AS t
        WHERE t.type = w.type AND t.status IN ('queued', 'backoff') AND t.delayed_until IS NULL
        ORDER BY t.priority, t.turn, t.id
        LIMIT %(limit)s
    ) AS h
    WHERE h.account_id IN (SELECT account_id FROM paused)
    LIMIT %(limit)s
),
locked AS (
    SELECT t.id
    FROM tasks AS t
    WHERE t.id IN (SELECT id FROM ahead) AND t.status IN ('queued', 'backoff') AND t.delayed_until IS NULL
    ORDER BY t.id
    FOR NO KEY UPDATE SKIP LOCKED
),
parked AS (
    UPDATE tasks AS t
    SET delayed_until = 'infinity', parked = true
    FROM locked
    WHERE t.id = locked.id
    RETURNING t.id
)
SELECT count(*) FROM parked
