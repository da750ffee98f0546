SELECT data::text, NULL, NULL, lease_until, percent, message, progress_completed, progress_total,
    CASE WHEN status = 'completed' AND group_id IS NULL THEN refunded_of(data ->> 'hold_id') ELSE 0 END,
    CASE WHEN group_id IS NULL OR ended_at IS NULL THEN true ELSE (
        SELECT d.status NOT IN ('processing', 'cancelling') OR d.data ->> 'hold_id' <> tasks.data ->> 'hold_id'
        FROM documents AS d
        WHERE d.id = tasks.group_id
    ) END
FROM tasks
WHERE id = ANY (%(ids)s)
