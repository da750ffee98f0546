-- The oldest ones first, a bounded number at a time; two processes that purge at once do not wait for each other.
DELETE FROM idempotency_keys
WHERE key IN (
    SELECT key FROM idempotency_keys
    WHERE created_at < clock_timestamp() - make_interval(days => %b)
    ORDER BY created_at
    LIMIT %b
    FOR UPDATE SKIP LOCKED
)
