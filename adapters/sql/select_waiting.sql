-- Of each type that waits or was started lately: how many could start, by priority and at most so many of each, and how
-- many start a second while some wait (null when too few were seen, or for too short a time, to say so).
WITH RECURSIVE steps AS (
    (
        SELECT type, priority FROM tasks
        WHERE status IN ('queued', 'backoff') AND delayed_until IS NULL
        ORDER BY type, priority LIMIT 1
    )
    UNION ALL
    SELECT n.type, n.priority
    FROM steps AS s
    CROSS JOIN LATERAL (
        SELECT t.type, t.priority FROM tasks AS t
        WHERE t.status IN ('queued', 'backoff') AND t.delayed_until IS NULL
            AND (t.type, t.priority) > (s.type, s.priority)
        ORDER BY t.type, t.priority LIMIT 1
    ) AS n
),
lines AS (
    SELECT s.type, s.priority, w.tasks, min(w.came) OVER (PARTITION BY s.type) AS came
    FROM steps AS s
    CROSS JOIN LATERAL (
        SELECT count(*) AS tasks, min(counted.came) AS came
        FROM (
            SELECT greatest(t.queued_at, t.not_before) AS came
            FROM tasks AS t
            WHERE t.type = s.type AND t.priority = s.priority
                AND t.status IN ('queued', 'backoff') AND t.delayed_until IS NULL
            LIMIT %(ahead_max)s + 1
        ) AS counted
    ) AS w
)
SELECT
    coalesce(l.type, q.type),
    coalesce(l.priority, 0),
    coalesce(l.tasks, 0),
    CASE
        WHEN pace_now(q, n.at) >= 1 AND n.at >= q.since + interval '2 seconds'
        THEN pace_now(q, n.at) / (60 * (1 - exp(-extract(epoch FROM n.at - q.since)::float8 / 60)))
    END
FROM lines AS l
FULL JOIN queue_pace AS q ON q.type = l.type
LEFT JOIN LATERAL (
    SELECT statement_timestamp() - greatest(interval '0', coalesce(l.came, statement_timestamp()) - q.at) AS at
) AS n ON true
