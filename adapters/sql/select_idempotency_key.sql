SELECT key, fingerprint, status, body, location
FROM idempotency_keys
WHERE key = %s
