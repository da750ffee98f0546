-- What holds a waiting task back, and how many that could start go before it: no row for one that waits no more.
WITH mine AS (
    SELECT id, type, account_id, status, priority, turn, delayed_until, not_before, greatest(queued_at, not_before) AS came
    FROM tasks
    WHERE id = %(task_id)s AND status IN ('queued', 'backoff')
),
paused AS (
    SELECT name, account_id FROM documents WHERE kind = 'pause' AND status = 'paused'
),
provider AS (
    SELECT p.*, bucket_tokens(p, statement_timestamp()) AS left_tokens
    FROM mine AS m
    JOIN provider_types AS n ON n.type = m.type
    JOIN providers AS p ON p.name = n.provider
)
SELECT
    m.status = 'backoff',
    CASE WHEN m.not_before > statement_timestamp() THEN m.not_before END,
    EXISTS (SELECT FROM paused AS x WHERE x.name = 'type:' || m.type),
    EXISTS (SELECT FROM paused AS x WHERE x.account_id = m.account_id),
    EXISTS (SELECT FROM paused AS x WHERE x.name = 'provider:' || p.name),
    CASE WHEN p.closed_until > statement_timestamp() THEN p.closed_until END,
    CASE
        WHEN p.left_tokens < 1
        THEN statement_timestamp()
            + make_interval(secs => (1 - p.left_tokens) / bucket_gain(p.starts_per_minute_max))
    END,
    coalesce(
        p.running_tasks_max <= (
            SELECT count(*)
            FROM tasks AS r
            WHERE r.status IN ('running', 'cancelling')
                AND r.type IN (SELECT n.type FROM provider_types AS n WHERE n.provider = p.name)
        ),
        false
    ),
    coalesce(
        %(running_max)s::bigint <= (
            SELECT count(*) FROM tasks AS r WHERE r.type = m.type AND r.status IN ('running', 'cancelling')
        ),
        false
    ),
    a.tasks,
    (
        -- Starts a second while some of the type waited; null when too few were seen, or for too short a time, to say so.
        -- Where none was started for a while, the turn is not told to be nearer than that: nobody may be at work.
        SELECT CASE
            WHEN pace_now(q, n.at) >= 1 AND n.at >= q.since + interval '2 seconds'
            THEN least(
                pace_now(q, n.at) / (60 * (1 - exp(-extract(epoch FROM n.at - q.since)::float8 / 60))),
                (a.tasks + 1) / nullif(extract(epoch FROM n.at - q.at)::float8, 0)
            )
        END
        FROM queue_pace AS q
        CROSS JOIN LATERAL (
            SELECT statement_timestamp() - greatest(interval '0', least(a.came, m.came) - q.at) AS at
        ) AS n
        WHERE q.type = m.type
    ),
    statement_timestamp()
FROM mine AS m
LEFT JOIN provider AS p ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS tasks, min(came) AS came
    FROM (
        SELECT greatest(q.queued_at, q.not_before) AS came
        FROM tasks AS q
        WHERE q.type = m.type
            AND q.status IN ('queued', 'backoff')
            AND q.delayed_until IS NULL
            AND (q.priority, q.turn, q.id) < (m.priority, m.turn, m.id)
            AND q.account_id NOT IN (SELECT account_id FROM paused WHERE account_id IS NOT NULL)
        LIMIT %(ahead_max)s + 1
    ) AS ahead
) AS a
