INSERT INTO statement_lines (
    position, account_id, version, at, kind, amount, available_change, held_change, available, held, actor,
    correlation_id, task_id, hold_id, grant_id, source_ref, reason, group_id, tasks
)
SELECT *
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
