SELECT
    CASE %(bucket)s::text
        WHEN 'total' THEN %(since)s::timestamptz ELSE date_trunc(%(bucket)s, day, 'UTC')
    END AS begins,
    account, task_type, sum(debits), sum(credits)
FROM journal_totals
WHERE day >= %(since)s AND day < %(until)s
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
LIMIT %(limit)s
