-- Waiting, delayed and active tasks by type, and the age of the oldest that could start.
SELECT
    type,
    count(*) FILTER (
        WHERE status IN ('queued', 'backoff') AND (not_before IS NULL OR not_before <= clock_timestamp())
    ),
    count(*) FILTER (WHERE status IN ('queued', 'backoff') AND not_before > clock_timestamp()),
    count(*) FILTER (WHERE status IN ('running', 'cancelling')),
    coalesce(
        extract(epoch FROM clock_timestamp() - min(greatest(queued_at, not_before)) FILTER (
            WHERE status IN ('queued', 'backoff') AND (not_before IS NULL OR not_before <= clock_timestamp())
        )),
        0
    )::float8
FROM tasks
WHERE status IN ('queued', 'backoff', 'running', 'cancelling')
GROUP BY type
ORDER BY type
