INSERT INTO queue_counts AS q (counted_at, took_seconds, depths)
VALUES (%(counted_at)s, %(took_seconds)s, %(depths)s)
ON CONFLICT (one) DO UPDATE SET
    counted_at = excluded.counted_at,
    took_seconds = excluded.took_seconds,
    depths = excluded.depths
WHERE q.counted_at < excluded.counted_at
