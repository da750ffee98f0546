SELECT counted_at, took_seconds, depths::text, extract(epoch FROM clock_timestamp() - counted_at)::float8
FROM queue_counts
