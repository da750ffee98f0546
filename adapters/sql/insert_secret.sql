INSERT INTO secrets (name, value)
VALUES (%s, %s)
ON CONFLICT (name) DO NOTHING
