DELETE FROM idempotency_keys
WHERE key IN (
    SELECT key
    FROM idempotency_keys
    WHERE created_at < clock_timestamp() - make_interval(days => %(days)s)
    ORDER BY created_at
    LIMIT %(limit)s
)
