-- What third parties bear, and how they stand. Light state, no facts: written by claims and by failures of type
-- rate_limited, under the log's lock. The limits are those that the last process to come up has declared.
CREATE TABLE providers (
    name text PRIMARY KEY,
    running_tasks_max bigint,
    starts_per_minute_max bigint,
    closed_until timestamptz,
    tokens float8,
    refilled_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 20);

-- Also of types that only some processes know: a provider's limits hold over all of them.
CREATE TABLE provider_types (
    type text PRIMARY KEY,
    provider text NOT NULL
);

-- A token bucket of which no minute can take more than starts_per_minute_max: what it holds when full, and what it
-- gains a second. NULL tokens are a full bucket.
CREATE FUNCTION bucket_burst(starts_per_minute_max bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT greatest(1, starts_per_minute_max / 10)
$$;
CREATE FUNCTION bucket_gain(starts_per_minute_max bigint) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (starts_per_minute_max - greatest(1, starts_per_minute_max / 10) + 1) / 60.0::float8
$$;
CREATE FUNCTION bucket_tokens(p providers, at timestamptz) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
    SELECT least(
        bucket_burst(p.starts_per_minute_max)::float8,
        coalesce(p.tokens, bucket_burst(p.starts_per_minute_max)::float8)
            + greatest(0, extract(epoch FROM at - p.refilled_at)::float8) * bucket_gain(p.starts_per_minute_max)
    )
$$;

-- How many tasks of a type were started a second, lately: each start counts for less the longer it is ago, by half
-- after some forty seconds. `since` is when the counting began.
CREATE TABLE queue_pace (
    type text PRIMARY KEY,
    starts float8 NOT NULL,
    at timestamptz NOT NULL,
    since timestamptz NOT NULL
) WITH (fillfactor = 20);

CREATE FUNCTION pace_now(p queue_pace, at timestamptz) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
    SELECT p.starts * exp(-greatest(0, extract(epoch FROM at - p.at)::float8) / 60)
$$;

-- Tasks of a paused account are put aside, out of the index that claims read, and back when it is resumed.
ALTER TABLE tasks ADD COLUMN parked boolean NOT NULL DEFAULT false;
CREATE INDEX tasks_parked_idx ON tasks (account_id)
WHERE parked AND status IN ('queued', 'backoff') AND delayed_until = 'infinity';

-- The gates that are paused: each claim reads them.
CREATE INDEX documents_paused_idx ON documents (name) INCLUDE (account_id) WHERE kind = 'pause' AND status = 'paused';
