UPDATE api_keys
SET revoked_at = coalesce(revoked_at, clock_timestamp())
WHERE id = %s
RETURNING id, prefix, name, scope, account_id, created_at, expires_at, revoked_at
