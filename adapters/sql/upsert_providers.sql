-- Declare providers with their limits, and which types call them.
WITH declared AS (
    INSERT INTO providers AS p (name, running_tasks_max, starts_per_minute_max)
    SELECT * FROM unnest(%(names)s::text[], %(running_max)s::bigint[], %(starts_max)s::bigint[])
    ON CONFLICT (name) DO UPDATE SET
        running_tasks_max = excluded.running_tasks_max,
        starts_per_minute_max = excluded.starts_per_minute_max
    WHERE (p.running_tasks_max, p.starts_per_minute_max)
        IS DISTINCT FROM (excluded.running_tasks_max, excluded.starts_per_minute_max)
),
undeclared AS (
    DELETE FROM provider_types
    WHERE type = ANY (%(known_types)s::text[]) AND type <> ALL (%(types)s::text[])
)
INSERT INTO provider_types AS t (type, provider)
SELECT * FROM unnest(%(types)s::text[], %(type_providers)s::text[])
ON CONFLICT (type) DO UPDATE SET provider = excluded.provider
WHERE t.provider <> excluded.provider
