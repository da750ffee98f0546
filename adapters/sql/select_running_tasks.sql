SELECT id, version, percent, message, progress_completed, progress_total, data ->> 'stage'
FROM tasks
WHERE account_id = %(account_id)s AND status IN ('running', 'cancelling')
LIMIT %(limit)s
