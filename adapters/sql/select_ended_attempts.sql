SELECT
    id, account_id, token, status,
    ended_at < clock_timestamp() - make_interval(secs => %(age_seconds)s)
    AND (status IN ('failed', 'cancelled') AND token > 0 OR status = 'completed' AND token > 1)
FROM tasks
WHERE id > %(after)s
ORDER BY id
LIMIT %(limit)s
