-- The oldest first, a bounded number at a time; processes that purge at once do not wait for each other.
DELETE FROM idempotency_keys
WHERE key IN (
    SELECT key
    FROM idempotency_keys
    WHERE created_at < now() - make_interval(days => %(days)s)
    ORDER BY created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
