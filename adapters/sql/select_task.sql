SELECT
    data::text, input::text, result::text, lease_until, percent, message, progress_completed, progress_total
FROM tasks
WHERE id = %(task_id)s
