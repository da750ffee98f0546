SELECT data::text, NULL, NULL, lease_until, percent, message, progress_completed, progress_total
FROM tasks
WHERE id = ANY (%(ids)s)
