SELECT id, token, status FROM tasks WHERE id = ANY (%(ids)b)
