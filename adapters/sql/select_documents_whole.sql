SELECT id, kind, version, account_id, name, status, due_at, created_at, data::text
FROM documents
ORDER BY id
