-- Medians of the latest completed tasks by type, in seconds: from the submission, and from the start of the run.
SELECT
    type,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - created_at)),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - started_at))
FROM (
    SELECT type, status, created_at, ended_at, (data ->> 'started_at')::timestamptz AS started_at
    FROM tasks
    ORDER BY id DESC
    LIMIT %(tasks)s
) AS latest
WHERE status = 'completed'
GROUP BY type
