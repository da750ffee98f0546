SELECT id, kind, version, account_id, name, status, due_at, created_at, data::text
FROM documents
WHERE kind = 'pause' AND status = 'paused'
ORDER BY name
LIMIT %(limit)s
