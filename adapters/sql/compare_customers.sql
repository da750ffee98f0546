-- Every account's row beside its books; those of `apart` are compared by whoever asks.
WITH compared AS (
    SELECT
        coalesce(a.id, j.id) AS id,
        ARRAY[a.granted, a.pending, a.available, a.held, a.captured, a.expired, a.voided, a.refunded] AS told,
        ARRAY[
            j.granted_paid + j.granted_promotional + j.granted_trial + j.granted_adjustment, j.pending,
            j.available - j.overdraft, j.held, j.revenue - j.refunded, j.expired, j.voided, j.refunded
        ] AS posted
    FROM accounts AS a
    FULL JOIN journal_customers AS j ON j.id = a.id
    WHERE coalesce(a.id, j.id) <> ALL (%(apart)s::uuid[])
), filled AS (
    SELECT
        id,
        CASE WHEN told[1] IS NULL THEN array_fill(0::bigint, ARRAY[8]) ELSE told END AS told,
        CASE WHEN posted[1] IS NULL THEN array_fill(0::bigint, ARRAY[8]) ELSE posted END AS posted
    FROM compared
)
SELECT
    count(*),
    count(*) FILTER (WHERE told <> posted),
    (array_agg(id ORDER BY id) FILTER (WHERE told <> posted))[1:20],
    ARRAY(SELECT coalesce(sum(told[n]), 0) FROM filled, generate_series(1, 8) AS n GROUP BY n ORDER BY n),
    ARRAY(SELECT coalesce(sum(posted[n]), 0) FROM filled, generate_series(1, 8) AS n GROUP BY n ORDER BY n)
FROM filled
