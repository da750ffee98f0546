-- Waiting, delayed and active tasks by type, and how long the first that could start has waited.
SELECT
    type,
    count(*) FILTER (WHERE due_at <= clock_timestamp()),
    count(*) FILTER (WHERE due_at > clock_timestamp()),
    count(*) FILTER (WHERE due_at IS NULL),
    coalesce(
        extract(epoch FROM clock_timestamp() - min(due_at) FILTER (WHERE due_at <= clock_timestamp())),
        0
    )::float8
FROM (
    SELECT
        type,
        CASE WHEN status IN ('queued', 'backoff') THEN greatest(queued_at, not_before) END AS due_at
    FROM tasks
    WHERE status IN ('queued', 'backoff', 'running', 'cancelling')
) AS active
GROUP BY type
ORDER BY type
