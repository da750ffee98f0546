UPDATE stored_bytes
SET counted = %(counted)s, added = added - %(added)s, counts = counts + 1, counted_at = clock_timestamp()
WHERE account_id = %(account_id)s AND counts = %(counts)s
RETURNING counted_at
