INSERT INTO cleanup_positions (name, position) VALUES (%(name)s, %(position)s)
ON CONFLICT (name) DO UPDATE SET position = excluded.position
RETURNING position
