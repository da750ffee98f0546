-- An account's failed tasks, the first to fail first: what a retry in bulk goes through.
CREATE INDEX tasks_failed_idx ON tasks (account_id, ended_at, id) WHERE status = 'failed' AND group_id IS NULL;
