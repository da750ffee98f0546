INSERT INTO statistics_v2_counts AS c (
    hour, type, state, failure_type, phase, bucket, entered, credits_charged, credits_released, elapsed_us
)
SELECT *
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
ON CONFLICT (hour, type, state, failure_type, phase, bucket) DO UPDATE SET
    entered = c.entered + excluded.entered,
    credits_charged = c.credits_charged + excluded.credits_charged,
    credits_released = c.credits_released + excluded.credits_released,
    elapsed_us = c.elapsed_us + excluded.elapsed_us
