SELECT id, prefix, name, scope, account_id, created_at, expires_at, revoked_at
FROM api_keys
WHERE %(before)s::uuid IS NULL OR id < %(before)s
ORDER BY id DESC
LIMIT %(limit)s
