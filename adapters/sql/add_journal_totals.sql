INSERT INTO journal_totals AS t (day, account, task_type, debits, credits)
SELECT *
FROM unnest(%b, %b, %b, %b, %b)
ON CONFLICT (day, account, task_type) DO UPDATE SET
    debits = t.debits + excluded.debits,
    credits = t.credits + excluded.credits
