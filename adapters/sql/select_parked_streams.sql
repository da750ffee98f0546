SELECT projection, parked_at, stream_id, position, topic, error, skipped, last_position
FROM parked_streams
WHERE (stream_id, projection) > (%(stream_id)s, %(projection)s)
ORDER BY stream_id, projection
LIMIT %(limit)s
