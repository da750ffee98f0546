-- Read models behind the log, written by projectors. `position` is that of the event that made the row so.

-- statement.v1: line (account_id, version) is event (originator_id, originator_version) of the log.
CREATE TABLE statement_lines (
    account_id uuid NOT NULL,
    version bigint NOT NULL,
    position bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    amount bigint NOT NULL,
    available_change bigint NOT NULL,
    held_change bigint NOT NULL,
    available bigint NOT NULL,
    held bigint NOT NULL,
    actor text NOT NULL,
    correlation_id uuid NOT NULL,
    task_id uuid,
    hold_id uuid,
    grant_id uuid,
    source_ref text,
    reason text NOT NULL,
    PRIMARY KEY (account_id, version)
);
CREATE INDEX statement_lines_at_idx ON statement_lines (account_id, at);

-- statistics.v1: what is counted, and each task's row that it is counted with.
CREATE TABLE statistics_counts (
    hour timestamptz NOT NULL,
    type text NOT NULL,
    state text NOT NULL,
    failure_type text NOT NULL,
    entered bigint NOT NULL,
    credits_charged bigint NOT NULL,
    credits_released bigint NOT NULL,
    waited_us bigint NOT NULL,
    runs bigint NOT NULL,
    ran_us bigint NOT NULL,
    PRIMARY KEY (hour, type, state, failure_type)
) WITH (fillfactor = 50);

CREATE TABLE statistics_tasks (
    id uuid PRIMARY KEY,
    position bigint NOT NULL,
    type text NOT NULL,
    due_at timestamptz,
    started_at timestamptz
) WITH (fillfactor = 70);

-- Streams that a projection has set aside, from `position` on, because of the event there.
CREATE TABLE parked_streams (
    projection text NOT NULL,
    stream_id uuid NOT NULL,
    position bigint NOT NULL,
    topic text NOT NULL,
    error text NOT NULL,
    skipped bigint NOT NULL,
    last_position bigint NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, stream_id)
);
