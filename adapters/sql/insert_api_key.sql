INSERT INTO api_keys (id, prefix, sha256, name, scope, account_id, expires_at)
VALUES (%(id)s, %(prefix)s, %(sha256)s, %(name)s, %(scope)s, %(account_id)s, %(expires_at)s)
RETURNING id, prefix, name, scope, account_id, created_at, expires_at, revoked_at
