WITH holds AS (
    SELECT last_run.group_id, last_run.hold
    FROM unnest(%(ids)s::uuid[], %(holds)s::text[]) AS last_run (group_id, hold)
    UNION
    SELECT originator_id, convert_from(state, 'UTF8')::json ->> 'hold_id'
    FROM tallystick_events
    WHERE originator_id = ANY (%(again)s::uuid[])
        AND (topic LIKE 'group.started.%%' OR topic LIKE 'group.retried.%%')
)
SELECT group_id, sum(refunded_of(hold))::bigint
FROM holds
GROUP BY group_id
