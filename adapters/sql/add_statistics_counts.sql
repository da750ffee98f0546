INSERT INTO statistics_counts AS c (
    hour, type, state, failure_type, entered, credits_charged, credits_released, waited_us, runs, ran_us
)
SELECT *
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
ON CONFLICT (hour, type, state, failure_type) DO UPDATE SET
    entered = c.entered + excluded.entered,
    credits_charged = c.credits_charged + excluded.credits_charged,
    credits_released = c.credits_released + excluded.credits_released,
    waited_us = c.waited_us + excluded.waited_us,
    runs = c.runs + excluded.runs,
    ran_us = c.ran_us + excluded.ran_us
