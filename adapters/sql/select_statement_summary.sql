-- What a statement said before a time, and what each kind of line changed from then on, as far as it has come.
SELECT
    coalesce((SELECT position FROM tracking WHERE consumer = %(consumer)s), 0),
    opening.available, opening.held, changed.kind, changed.lines, changed.amount, changed.available, changed.held
FROM (SELECT) AS one
LEFT JOIN LATERAL (
    SELECT available, held
    FROM statement_lines
    WHERE account_id = %(account_id)s AND at < %(since)s
    ORDER BY at DESC, version DESC
    LIMIT 1
) AS opening ON true
LEFT JOIN LATERAL (
    SELECT
        kind, count(*) AS lines, sum(amount) AS amount, sum(available_change) AS available, sum(held_change) AS held
    FROM statement_lines
    WHERE account_id = %(account_id)s AND at >= %(since)s AND at < %(until)s
    GROUP BY kind
) AS changed ON true
ORDER BY changed.kind
