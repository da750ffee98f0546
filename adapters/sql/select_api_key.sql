SELECT
    id, prefix, name, scope, account_id, created_at, expires_at, revoked_at, sha256,
    extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds_left
FROM api_keys
WHERE prefix = %s
    AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > clock_timestamp())
