SELECT tail.*
FROM unnest(%b::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT
        l.account_id, l.version, l.at, l.kind, l.amount, l.available_change, l.held_change, l.available, l.held,
        l.actor, l.correlation_id, l.task_id, l.hold_id, l.grant_id, l.source_ref, l.reason,
        l.group_id, l.tasks
    FROM statement_lines AS l
    WHERE l.account_id = wanted.id
    ORDER BY l.version DESC
    LIMIT 1
) AS tail
