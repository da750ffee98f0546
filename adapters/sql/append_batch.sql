SELECT first_position, conflict, used_keys, passed
FROM append_batch(
    %b, %b, %b, %b,
    %b, %b,
    %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b,
    %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b,
    %b, %b, %b, %b, %b, %b, %b, %b, %b,
    %b, %b, %b, %b, %b,
    %b, %b,
    %s
)
