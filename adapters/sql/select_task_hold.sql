SELECT (data ->> 'hold_id')::uuid, group_id
FROM tasks
WHERE id = %(task_id)b AND account_id = %(account_id)b
