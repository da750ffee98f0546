SELECT id, version, plan, status, opened_at, updated_at, name, granted, available, held, captured, active,
    pending, expired, voided, refunded, trials
FROM accounts
WHERE id = %(account_id)s
