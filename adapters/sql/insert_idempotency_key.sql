INSERT INTO idempotency_keys (key, fingerprint, status, body, location)
VALUES (%s, %s, %s, %s, %s)
