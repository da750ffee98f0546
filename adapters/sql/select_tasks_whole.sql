SELECT
    id, version, account_id, type, status, priority, project, queued_at, not_before, worker, token, created_at,
    ended_at, deadline_at, group_id, content_key, percent, data::text, input::text, result::text
FROM tasks
ORDER BY id
