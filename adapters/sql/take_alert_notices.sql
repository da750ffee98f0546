-- Each notice taken is due again, ever later, unless it is deleted as told before that.
WITH due AS (
    SELECT id, channel
    FROM alert_notices
    WHERE due_at <= clock_timestamp()
    ORDER BY at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE alert_notices AS n
SET
    attempts = n.attempts + 1,
    due_at = clock_timestamp() + make_interval(secs => least(%(seconds)s * 2 ^ n.attempts, %(seconds_max)s))
FROM due
WHERE n.id = due.id AND n.channel = due.channel
RETURNING n.id, n.moment, n.type, n.waiting, n.since, n.oldest_at, n.at, n.channel, n.attempts
