SELECT
    CASE %(bucket)s::text WHEN 'total' THEN %(since)s::timestamptz ELSE date_trunc(%(bucket)s, hour, 'UTC') END,
    type, state, failure_type, sum(entered)::bigint, sum(credits_charged)::bigint, sum(credits_released)::bigint,
    sum(waited_us)::bigint, sum(runs)::bigint, sum(ran_us)::bigint
FROM statistics_counts
WHERE
    hour >= %(since)s
    AND hour < %(until)s
    AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s))
    AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
LIMIT %(limit)s
