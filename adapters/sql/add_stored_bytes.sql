INSERT INTO stored_bytes AS s (account_id, added) VALUES (%(account_id)s, %(size_bytes)s)
ON CONFLICT (account_id) DO UPDATE SET added = s.added + excluded.added
RETURNING added
