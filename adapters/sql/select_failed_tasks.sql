WITH failed AS MATERIALIZED (
    SELECT
        id, type, project, ended_at,
        CASE WHEN %(failure_types)s::text[] IS NOT NULL THEN data #>> '{failure,type}' END AS failure_type
    FROM tasks
    WHERE account_id = %(account_id)s AND status = 'failed' AND group_id IS NULL
        AND (%(failed_after)s::timestamptz IS NULL OR ended_at > %(failed_after)s::timestamptz)
        AND (%(failed_before)s::timestamptz IS NULL OR ended_at < %(failed_before)s::timestamptz)
    ORDER BY ended_at, id
    LIMIT %(scan_max)s
),
wanted AS (
    SELECT id, ended_at
    FROM failed
    WHERE (%(types)s::text[] IS NULL OR type = ANY (%(types)s::text[]))
        AND (%(project)s::text IS NULL OR project = %(project)s::text)
        AND (%(failure_types)s::text[] IS NULL OR failure_type = ANY (%(failure_types)s::text[]))
    ORDER BY ended_at, id
    LIMIT %(limit)s + 1
)
SELECT
    ARRAY(SELECT id FROM wanted ORDER BY ended_at, id LIMIT %(limit)s),
    (SELECT count(*) FROM wanted) > %(limit)s OR (SELECT count(*) FROM failed) = %(scan_max)s
