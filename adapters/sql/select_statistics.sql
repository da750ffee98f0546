-- A row for each time, type, state and failure type; of the phases that ended so, the sum of the times and a histogram.
SELECT
    hour, type, state, failure_type, sum(entered)::bigint, sum(credits_charged)::bigint, sum(credits_released)::bigint,
    coalesce(array_agg(bucket ORDER BY bucket) FILTER (WHERE phase = 'wait'), '{}'),
    coalesce(array_agg(entered ORDER BY bucket) FILTER (WHERE phase = 'wait'), '{}'),
    coalesce(sum(elapsed_us) FILTER (WHERE phase = 'wait'), 0)::bigint,
    coalesce(array_agg(bucket ORDER BY bucket) FILTER (WHERE phase = 'run'), '{}'),
    coalesce(array_agg(entered ORDER BY bucket) FILTER (WHERE phase = 'run'), '{}'),
    coalesce(sum(elapsed_us) FILTER (WHERE phase = 'run'), 0)::bigint
FROM (
    SELECT
        CASE %(bucket)s::text
            WHEN 'total' THEN %(since)s::timestamptz ELSE date_trunc(%(bucket)s, hour, 'UTC')
        END AS hour,
        type, state, failure_type, phase, bucket, sum(entered)::bigint AS entered,
        sum(credits_charged) AS credits_charged, sum(credits_released) AS credits_released,
        sum(elapsed_us) AS elapsed_us
    FROM statistics_v2_counts
    WHERE
        hour >= %(since)s
        AND hour < %(until)s
        AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s))
    GROUP BY 1, 2, 3, 4, 5, 6
) AS counted
GROUP BY hour, type, state, failure_type
ORDER BY hour, type, state, failure_type
LIMIT %(limit)s
