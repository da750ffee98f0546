-- A key is looked up by its public prefix; its digest is then compared in constant time.
CREATE UNIQUE INDEX api_keys_prefix_idx ON api_keys (prefix);

-- Secrets that all processes of one installation share, each made by the first that needs it.
CREATE TABLE secrets (
    name text PRIMARY KEY,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
