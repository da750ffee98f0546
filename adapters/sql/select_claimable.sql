WITH wanted AS (
    SELECT
        w.type,
        least(
            %(limit)s::bigint,
            w.running_max - count(t.id)
                - (SELECT count(*) FROM tasks AS x WHERE x.id = ANY (%(taken)s::uuid[]) AND x.type = w.type)
        ) AS free
    FROM unnest(%(types)s::text[], %(running_max)s::bigint[]) AS w (type, running_max)
    LEFT JOIN tasks AS t
        ON w.running_max IS NOT NULL AND t.type = w.type AND t.status IN ('running', 'cancelling')
    GROUP BY w.type, w.running_max
),
picked AS (
    SELECT q.id, q.priority, q.turn
    FROM wanted AS w
    CROSS JOIN LATERAL (
        SELECT t.id, t.priority, t.turn
        FROM tasks AS t
        WHERE t.type = w.type
            AND t.status IN ('queued', 'backoff')
            AND t.delayed_until IS NULL
            AND t.id <> ALL (%(taken)s::uuid[])
        ORDER BY t.priority, t.turn, t.id
        LIMIT greatest(w.free, 0)
    ) AS q
    ORDER BY q.priority, q.turn, q.id
    LIMIT %(limit)s
),
served AS (
    UPDATE queue_clock AS c
    SET turn = p.turn
    FROM (SELECT priority, max(turn) AS turn FROM picked GROUP BY priority) AS p
    WHERE c.priority = p.priority AND c.turn < p.turn
)
SELECT id FROM picked ORDER BY priority, turn, id
