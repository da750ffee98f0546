INSERT INTO parked_streams (projection, stream_id, position, topic, error, skipped, last_position)
SELECT %s, n.*
FROM unnest(%b, %b, %b, %b, %b, %b) AS n
ON CONFLICT (projection, stream_id) DO UPDATE SET
    position = excluded.position,
    topic = excluded.topic,
    error = excluded.error,
    skipped = excluded.skipped,
    last_position = excluded.last_position
