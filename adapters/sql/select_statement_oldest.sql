SELECT
    position, account_id, version, at, kind, amount, available_change, held_change, available, held, actor,
    correlation_id, task_id, hold_id, grant_id, source_ref, reason, group_id, tasks
FROM statement_lines
WHERE
    account_id = %(account_id)s
    AND (%(past)s::bigint IS NULL OR version > %(past)s)
    AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
ORDER BY version
LIMIT %(limit)s
