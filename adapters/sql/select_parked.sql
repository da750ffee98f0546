SELECT p.stream_id, p.position, p.topic, p.error, p.skipped, p.last_position
FROM parked_streams AS p
WHERE p.projection = %s AND p.stream_id = ANY (%b)
