-- Takes a count of the queue: the types above the limit are marked, those no longer above it are let go, and what has to
-- be told is put down by the same statement. A count older than the one a mark was seen by changes nothing, so each
-- backlog is raised once, and over once, by however many processes.
WITH above AS (
    SELECT type, waiting, oldest_at
    FROM unnest(%(types)s::text[], %(waiting)s::bigint[], %(oldest)s::timestamptz[]) AS c (type, waiting, oldest_at)
    WHERE waiting > %(tasks_max)s
),
marked AS (
    INSERT INTO backlogs AS b (type, since, seen_at, raised_at)
    SELECT type, %(at)s, %(at)s, CASE WHEN %(seconds)s::float8 = 0 THEN %(at)s::timestamptz END
    FROM above
    ORDER BY type
    ON CONFLICT (type) DO UPDATE SET
        seen_at = excluded.seen_at,
        raised_at = CASE
            WHEN b.raised_at IS NULL AND excluded.seen_at >= b.since + make_interval(secs => %(seconds)s)
                THEN excluded.seen_at
            ELSE b.raised_at
        END
    WHERE b.seen_at < excluded.seen_at
    RETURNING type, since, seen_at, raised_at
),
over AS (
    DELETE FROM backlogs AS b
    WHERE b.seen_at < %(at)s AND NOT EXISTS (SELECT FROM above AS a WHERE a.type = b.type)
    RETURNING type, since, raised_at
),
moments AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, 'backlog.raised' AS moment, type, since FROM marked WHERE raised_at = seen_at
    UNION ALL
    SELECT gen_random_uuid(), 'backlog.over', type, since FROM over WHERE raised_at IS NOT NULL
)
INSERT INTO alert_notices (id, channel, moment, type, waiting, since, oldest_at, at, attempts, due_at)
SELECT
    m.id, channel, m.moment, m.type, coalesce(c.waiting, 0), m.since, c.oldest_at, %(at)s, 0, clock_timestamp()
FROM moments AS m
LEFT JOIN unnest(%(types)s::text[], %(waiting)s::bigint[], %(oldest)s::timestamptz[]) AS c (type, waiting, oldest_at)
    USING (type)
CROSS JOIN unnest(%(channels)s::text[]) AS channel
RETURNING id
