WITH ended AS (
    SELECT id, scope, name, account_id, expires_at
    FROM api_keys
    WHERE id = %(id)s
        AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > clock_timestamp())
    FOR UPDATE
)
UPDATE api_keys AS k
SET
    expires_at = least(k.expires_at, clock_timestamp() + %(ends_after)s),
    revoked_at = CASE WHEN %(ends_after)s > '0'::interval THEN NULL ELSE clock_timestamp() END
FROM ended AS e
WHERE k.id = e.id
RETURNING e.scope, e.name, e.account_id, e.expires_at
