-- Queued tasks that may start now, most urgent first, and what starting them takes from their providers. Runs under the
-- log's lock; `taken` are tasks that the same transaction is about to start.
WITH paused AS (
    SELECT name, account_id FROM documents WHERE kind = 'pause' AND status = 'paused'
),
given AS (
    SELECT w.type, w.running_max, p.provider
    FROM unnest(%(types)s::text[], %(running_max)s::bigint[]) AS w (type, running_max)
    LEFT JOIN provider_types AS p ON p.type = w.type
    WHERE NOT EXISTS (
        SELECT FROM paused AS x WHERE x.name IN ('type:' || w.type, 'provider:' || p.provider)
    )
),
bound AS (
    SELECT p.*, bucket_tokens(p, statement_timestamp()) AS left_tokens
    FROM providers AS p
    WHERE p.name IN (SELECT provider FROM given)
),
counted AS (
    SELECT g.type FROM given AS g WHERE g.running_max IS NOT NULL
    UNION
    SELECT t.type
    FROM bound AS b
    JOIN provider_types AS t ON t.provider = b.name
    WHERE b.running_tasks_max IS NOT NULL
),
running AS MATERIALIZED (
    SELECT c.type, (r.tasks + s.tasks) AS tasks
    FROM counted AS c
    CROSS JOIN LATERAL (
        SELECT count(*) AS tasks FROM tasks AS t WHERE t.type = c.type AND t.status IN ('running', 'cancelling')
    ) AS r
    CROSS JOIN LATERAL (
        SELECT count(*) AS tasks FROM tasks AS t WHERE t.id = ANY (%(taken)s::uuid[]) AND t.type = c.type
    ) AS s
),
rooms AS (
    SELECT
        b.name AS provider,
        CASE
            WHEN b.closed_until > statement_timestamp() THEN 0
            ELSE greatest(
                0,
                least(
                    %(limit)s::bigint,
                    floor(b.left_tokens)::bigint,
                    b.running_tasks_max - (
                        SELECT sum(r.tasks)
                        FROM running AS r
                        JOIN provider_types AS t ON t.type = r.type
                        WHERE t.provider = b.name
                    )
                )
            )
        END AS room
    FROM bound AS b
),
wanted AS (
    SELECT
        g.type,
        m.provider,
        m.room,
        greatest(0, least(%(limit)s::bigint, m.room, g.running_max - r.tasks)) AS free
    FROM given AS g
    LEFT JOIN rooms AS m ON m.provider = g.provider
    LEFT JOIN running AS r ON r.type = g.type
),
first AS (
    SELECT
        q.id, q.priority, q.turn, q.came, w.type, w.provider, w.room,
        row_number() OVER (PARTITION BY w.provider ORDER BY q.priority, q.turn, q.id) AS place
    FROM wanted AS w
    CROSS JOIN LATERAL (
        -- A limit that is no constant is planned as a tenth of all rows, which would be sorted then: the inner one, more
        -- than any claim asks for, makes it the head of the index.
        SELECT h.*
        FROM (
            SELECT t.id, t.priority, t.turn, greatest(t.queued_at, t.not_before) AS came
            FROM tasks AS t
            WHERE t.type = w.type
                AND t.status IN ('queued', 'backoff')
                AND t.delayed_until IS NULL
                AND t.id <> ALL (%(taken)s::uuid[])
                AND t.account_id NOT IN (SELECT account_id FROM paused WHERE account_id IS NOT NULL)
            ORDER BY t.priority, t.turn, t.id
            LIMIT 1000
        ) AS h
        LIMIT w.free
    ) AS q
),
picked AS (
    SELECT id, priority, turn, came, type, provider
    FROM first
    WHERE provider IS NULL OR place <= room
    ORDER BY priority, turn, id
    LIMIT %(limit)s
),
served AS (
    UPDATE queue_clock AS c
    SET turn = p.turn
    FROM (SELECT priority, max(turn) AS turn FROM picked GROUP BY priority) AS p
    WHERE c.priority = p.priority AND c.turn < p.turn
),
spent AS (
    UPDATE providers AS p
    SET tokens = b.left_tokens - n.tasks, refilled_at = statement_timestamp()
    FROM bound AS b
    JOIN (SELECT provider, count(*) AS tasks FROM picked GROUP BY provider) AS n ON n.provider = b.name
    WHERE p.name = b.name AND p.starts_per_minute_max IS NOT NULL
),
line AS (
    SELECT type, count(*) AS tasks, least(min(came), statement_timestamp()) AS came FROM picked GROUP BY type
),
paced AS (
    -- Time in which none of the type waited, since before the first of these came, does not count: it is left out.
    INSERT INTO queue_pace AS q (type, starts, at, since)
    SELECT type, tasks, statement_timestamp(), statement_timestamp() FROM line
    ON CONFLICT (type) DO UPDATE SET (starts, at, since) = (
        SELECT
            before.starts + excluded.starts,
            excluded.at,
            CASE WHEN before.starts < 1 THEN excluded.at ELSE q.since + idle.time END
        FROM line AS l
        CROSS JOIN LATERAL (SELECT greatest(interval '0', l.came - q.at) AS time) AS idle
        CROSS JOIN LATERAL (SELECT pace_now(q, excluded.at - idle.time) AS starts) AS before
        WHERE l.type = excluded.type
    )
)
SELECT id FROM picked ORDER BY priority, turn, id
