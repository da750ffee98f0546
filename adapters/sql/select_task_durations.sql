SELECT type, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - created_at))
FROM (
    SELECT type, status, token, created_at, ended_at
    FROM tasks
    ORDER BY id DESC
    LIMIT %(tasks)s
) AS latest
WHERE status = 'completed' AND token > 0 -- worked on, not taken over from another
GROUP BY type
