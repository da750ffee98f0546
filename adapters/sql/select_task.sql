SELECT
    data::text, input::text, result::text, lease_until, percent, message, progress_completed, progress_total,
    CASE WHEN status = 'completed' AND group_id IS NULL THEN refunded_of(data ->> 'hold_id') ELSE 0 END
FROM tasks
WHERE id = %(task_id)s
