INSERT INTO stored_bytes AS s (account_id) VALUES (%(account_id)s)
ON CONFLICT (account_id) DO UPDATE SET counts = s.counts
RETURNING counts, added
