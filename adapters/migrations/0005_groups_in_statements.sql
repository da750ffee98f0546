-- A hold may be for a group, and count as several tasks toward the day's.
ALTER TABLE statement_lines ADD COLUMN group_id uuid, ADD COLUMN tasks bigint NOT NULL DEFAULT 1;
