-- By type: tasks that could start now, that could but for a pause of their type, provider or account (which puts them
-- aside, for ever until it is resumed), that may not yet, whose own pause is not over, that are worked on; since when the
-- first that could start has waited. Waiting and delayed ones are counted from indexes alone.
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now),
waiting AS (
    SELECT type, count(*) AS tasks, min(greatest(queued_at, not_before)) AS oldest
    FROM tasks
    WHERE status IN ('queued', 'backoff') AND delayed_until IS NULL
    GROUP BY type
),
delayed AS (
    SELECT
        type,
        count(*) FILTER (WHERE delayed_until <= (SELECT now FROM moment)) AS due,
        count(*) FILTER (WHERE status = 'queued' AND later) AS delayed,
        count(*) FILTER (WHERE status = 'backoff' AND later) AS backoff,
        count(*) FILTER (WHERE delayed_until = 'infinity') AS parked,
        min(delayed_until) FILTER (WHERE delayed_until <= (SELECT now FROM moment)) AS oldest
    FROM tasks
    CROSS JOIN LATERAL (
        SELECT delayed_until > (SELECT now FROM moment) AND delayed_until < 'infinity' AS later
    ) AS due
    WHERE status IN ('queued', 'backoff') AND delayed_until IS NOT NULL
    GROUP BY type
),
active AS (
    SELECT type, count(*) AS tasks
    FROM tasks
    WHERE status IN ('running', 'cancelling')
    GROUP BY type
),
types AS (
    SELECT type FROM waiting UNION SELECT type FROM delayed UNION SELECT type FROM active
),
pauses AS (SELECT name FROM documents WHERE kind = 'pause' AND status = 'paused'),
paused AS (
    SELECT type
    FROM types
    LEFT JOIN provider_types AS p USING (type)
    WHERE 'type:' || type IN (SELECT name FROM pauses) OR 'provider:' || p.provider IN (SELECT name FROM pauses)
)
SELECT
    type,
    CASE WHEN h.type IS NULL THEN coalesce(w.tasks, 0) + coalesce(d.due, 0) ELSE 0 END,
    CASE WHEN h.type IS NOT NULL THEN coalesce(w.tasks, 0) + coalesce(d.due, 0) ELSE 0 END + coalesce(d.parked, 0),
    coalesce(d.delayed, 0),
    coalesce(d.backoff, 0),
    coalesce(a.tasks, 0),
    CASE WHEN h.type IS NULL THEN least(d.oldest, w.oldest) END
FROM types
LEFT JOIN waiting AS w USING (type)
LEFT JOIN delayed AS d USING (type)
LEFT JOIN active AS a USING (type)
LEFT JOIN paused AS h USING (type)
ORDER BY type
