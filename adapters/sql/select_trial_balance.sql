SELECT account, sum(debits), sum(credits)
FROM journal_totals
WHERE %(until)s::timestamptz IS NULL OR day < %(until)s
GROUP BY account
