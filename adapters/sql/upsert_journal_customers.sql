INSERT INTO journal_customers (
    position, id,
    granted_paid, granted_promotional, granted_trial, granted_adjustment, overdraft, refunded,
    pending, available, held, revenue, expired, voided
)
SELECT *
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
ON CONFLICT (id) DO UPDATE SET
    position = excluded.position,
    granted_paid = excluded.granted_paid,
    granted_promotional = excluded.granted_promotional,
    granted_trial = excluded.granted_trial,
    granted_adjustment = excluded.granted_adjustment,
    overdraft = excluded.overdraft,
    refunded = excluded.refunded,
    pending = excluded.pending,
    available = excluded.available,
    held = excluded.held,
    revenue = excluded.revenue,
    expired = excluded.expired,
    voided = excluded.voided
