SELECT id
FROM api_keys
WHERE id = ANY (%(ids)s) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
