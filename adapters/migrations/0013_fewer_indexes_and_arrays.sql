-- When the first waiting task of a type was queued is read from the index that counts them, so that queueing a task writes
-- one index less.
DROP INDEX tasks_waiting_idx;
DROP INDEX tasks_queue_idx;
CREATE INDEX tasks_queue_idx ON tasks (type, priority, turn, id) INCLUDE (queued_at, not_before)
WHERE status IN ('queued', 'backoff') AND delayed_until IS NULL;

-- include: functions/append_batch.sql 10d4fcdb440c
