SELECT id, version, percent, message, progress_completed, progress_total, data ->> 'stage'
FROM tasks
WHERE id = ANY (%(ids)s) AND status IN ('running', 'cancelling')
