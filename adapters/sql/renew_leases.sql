WITH reported AS (
    SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::smallint[], %b::text[], %b::bigint[], %b::bigint[])
    AS r (id, token, percent, message, completed, total)
),
locked AS (
    SELECT t.id
    FROM tasks AS t
    JOIN reported AS r ON r.id = t.id AND r.token = t.token
    WHERE t.status IN ('running', 'cancelling')
    ORDER BY t.id
    FOR NO KEY UPDATE OF t
)
UPDATE tasks AS t
SET
    lease_until = greatest(t.lease_until, clock_timestamp() + make_interval(secs => %b::float8)),
    percent = greatest(t.percent, coalesce(r.percent, 0)),
    message = coalesce(r.message, t.message),
    progress_completed = coalesce(r.completed, t.progress_completed),
    progress_total = coalesce(r.total, t.progress_total)
FROM reported AS r
JOIN locked AS l ON l.id = r.id
WHERE t.id = r.id AND t.token = r.token AND t.status IN ('running', 'cancelling')
RETURNING t.id, t.token, t.status
