SELECT type, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - created_at))
FROM (
    SELECT type, status, created_at, ended_at
    FROM tasks
    ORDER BY id DESC
    LIMIT %(tasks)s
) AS latest
WHERE status = 'completed'
GROUP BY type
