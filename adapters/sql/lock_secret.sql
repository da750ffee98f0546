SELECT value, clock_timestamp()
FROM secrets
WHERE name = %s
FOR UPDATE
