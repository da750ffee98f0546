-- statistics.v2 takes the place of statistics.v1, and is built anew from the log.
DROP TABLE statistics_counts, statistics_tasks;
DELETE FROM tracking WHERE consumer = 'statistics.v1';
DELETE FROM parked_streams WHERE projection = 'statistics.v1';

-- What is counted: events by hour, and how long the wait or the run took that each of them ended, as a histogram:
-- `bucket` is one of projections/histogram.py, elapsed_us the sum of the times in it.
CREATE TABLE statistics_v2_counts (
    hour timestamptz NOT NULL,
    type text NOT NULL,
    state text NOT NULL,
    failure_type text NOT NULL,
    phase text NOT NULL,
    bucket smallint NOT NULL,
    entered bigint NOT NULL,
    credits_charged bigint NOT NULL,
    credits_released bigint NOT NULL,
    elapsed_us bigint NOT NULL,
    PRIMARY KEY (hour, type, state, failure_type, phase, bucket)
) WITH (fillfactor = 50);

-- Each task's row that its events are counted with.
CREATE TABLE statistics_v2_tasks (
    id uuid PRIMARY KEY,
    position bigint NOT NULL,
    type text NOT NULL,
    due_at timestamptz,
    started_at timestamptz
) WITH (fillfactor = 70);

-- The queue is counted from indexes alone, and the first task that could start is found by one look for each type.
CREATE INDEX tasks_waiting_idx ON tasks (type, greatest(queued_at, not_before))
WHERE status IN ('queued', 'backoff') AND delayed_until IS NULL;
DROP INDEX tasks_delayed_idx;
CREATE INDEX tasks_delayed_idx ON tasks (delayed_until) INCLUDE (type, status)
WHERE status IN ('queued', 'backoff') AND delayed_until IS NOT NULL;

-- The last count of the queue that took long, for all processes to share.
CREATE TABLE queue_counts (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    counted_at timestamptz NOT NULL,
    took_seconds float8 NOT NULL,
    depths json NOT NULL
) WITH (fillfactor = 20);

-- Types of which too many tasks wait: since when, and as of which count; raised_at is set when it has gone on for too
-- long.
CREATE TABLE backlogs (
    type text PRIMARY KEY,
    since timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    raised_at timestamptz
) WITH (fillfactor = 50);

-- What has to be told of a backlog, a row for each way of telling it; a row that was told is deleted.
CREATE TABLE alert_notices (
    id uuid NOT NULL,
    channel text NOT NULL,
    moment text NOT NULL,
    type text NOT NULL,
    waiting bigint NOT NULL,
    since timestamptz NOT NULL,
    oldest_at timestamptz,
    at timestamptz NOT NULL,
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (id, channel)
);
