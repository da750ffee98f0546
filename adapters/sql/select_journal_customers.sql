SELECT
    j.id,
    j.granted_paid, j.granted_promotional, j.granted_trial, j.granted_adjustment, j.overdraft, j.refunded,
    j.pending, j.available, j.held, j.revenue, j.expired, j.voided
FROM unnest(%b::uuid[]) AS wanted (id)
JOIN journal_customers AS j ON j.id = wanted.id
