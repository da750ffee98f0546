SELECT coalesce(sum(tasks), 0)::bigint
FROM statement_lines
WHERE account_id = %(account_id)s
    AND kind = 'held'
    AND at >= date_trunc('day', clock_timestamp(), 'UTC')
