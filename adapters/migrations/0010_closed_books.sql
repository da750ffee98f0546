-- A ledger loads from its newest closed period when its snapshots are lost; there are few of those events.
CREATE INDEX tallystick_events_closed_books_idx ON tallystick_events (originator_id, originator_version)
WHERE topic LIKE 'books.closed.v%';
