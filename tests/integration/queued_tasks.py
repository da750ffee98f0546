"""Puts tasks of any status and age straight into the queue's table."""

from __future__ import annotations

from typing import Any, Literal

import psycopg

Status = Literal["queued", "backoff", "running", "cancelling", "completed"]


def put_tasks(
    dsn: str,
    number: int,
    type_: str = "a",
    status: Status = "queued",
    *,
    queued_seconds_ago: float = 0,
    starts_in_seconds: float | None = None,
    woken: bool = False,
) -> None:
    """`woken` ones have had their pause ended by the sweep that looks for those that are over."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO tasks (id, version, account_id, type, status, priority, turn, token,"
            " queued_at, not_before, delayed_until, created_at, deadline_at, data)"
            " SELECT gen_random_uuid(), 1, gen_random_uuid(), %(type)s, %(status)s, 2, n, 1,"
            " now() - make_interval(secs => %(ago)s), now() + make_interval(secs => %(later)s),"
            " CASE WHEN NOT %(woken)s THEN now() + make_interval(secs => %(later)s) END,"
            " now(), now() + interval '1 day', json_build_object('n', n)"
            " FROM generate_series(1, %(number)s) AS n",
            {
                "number": number,
                "type": type_,
                "status": status,
                "ago": queued_seconds_ago,
                "later": starts_in_seconds,
                "woken": woken,
            },
        )


def one_value(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def pass_seconds(dsn: str, seconds: float) -> None:
    """As if the notices of alerts had been taken so much longer ago."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE alert_notices SET due_at = due_at - make_interval(secs => %s)", (seconds,)
        )
