SELECT a.plan, coalesce(s.counted + s.added, 0), s.counted_at
FROM accounts AS a
LEFT JOIN stored_bytes AS s ON s.account_id = a.id
WHERE a.id = %(account_id)s
