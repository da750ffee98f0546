-- The newest result of each key, if it is no older than that key allows and all together fit the bytes.
SELECT found.key, found.id, found.result
FROM (
    SELECT wanted.key, done.id, done.result, sum(octet_length(done.result)) OVER (ORDER BY wanted.place) AS bytes
    FROM unnest(%(keys)s, %(seconds)s) WITH ORDINALITY AS wanted (key, seconds, place)
    CROSS JOIN LATERAL (
        SELECT t.id, t.result::text AS result
        FROM tasks AS t
        WHERE
            t.content_key = wanted.key
            AND t.status = 'completed'
            AND t.ended_at > statement_timestamp() - make_interval(secs => wanted.seconds)
        ORDER BY t.ended_at DESC
        LIMIT 1
    ) AS done
) AS found
WHERE found.bytes <= %(bytes_max)s
