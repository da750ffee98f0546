-- What each account stores: counted in the object store, and what was added since the count began. `counts` tells one
-- count from another. Light: nothing here is a fact, and the next count is right whatever was lost.
CREATE TABLE stored_bytes (
    account_id uuid PRIMARY KEY,
    counted bigint NOT NULL DEFAULT 0,
    added bigint NOT NULL DEFAULT 0,
    counts bigint NOT NULL DEFAULT 0,
    counted_at timestamptz
) WITH (fillfactor = 50);

-- How far walks over what is left over have come, by their name: each goes on where the last one ended.
CREATE TABLE cleanup_positions (
    name text PRIMARY KEY,
    position uuid NOT NULL
);
