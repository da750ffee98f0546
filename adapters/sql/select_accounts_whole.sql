SELECT id, version, plan, status, opened_at, updated_at, name, granted, available, held, captured, active,
    pending, expired, voided, refunded, trials, due_at
FROM accounts
ORDER BY id
