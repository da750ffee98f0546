-- Medians of the latest completed tasks by type, in seconds: from the submission, and from the start of the run.
-- Those that took over another's result were never started, and say nothing of how long work takes.
SELECT
    type,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - created_at)),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - started_at))
FROM (
    SELECT type, status, token, created_at, ended_at, (data ->> 'started_at')::timestamptz AS started_at
    FROM tasks
    ORDER BY id DESC
    LIMIT %(tasks)s
) AS latest
WHERE status = 'completed' AND token > 0
GROUP BY type
