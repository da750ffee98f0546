SELECT id, kind, version, account_id, name, status, due_at, created_at, data::text
FROM documents
WHERE kind = %(kind)s
    AND (%(account_id)s::uuid IS NULL OR account_id = %(account_id)s::uuid)
    AND (%(statuses)s::text[] IS NULL OR status = ANY (%(statuses)s::text[]))
    AND (%(name)s::text IS NULL OR name = %(name)s::text)
    AND (%(data)s::jsonb IS NULL OR data::jsonb @> %(data)s::jsonb)
    AND (
        %(before_at)s::timestamptz IS NULL
        OR (created_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    )
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s
