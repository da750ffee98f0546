"""Ends of holds, grants and refunds are found by index in a long log, and nowhere else."""

from __future__ import annotations

import re
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from adapters.arrays import Byteas
from adapters.sql import statement

EVENTS = 30_000
ACCOUNT = UUID(int=1)
PARAMETERS = {
    "hold": str(UUID(int=7)).encode(),
    "grants": Byteas([str(UUID(int=7)).encode()]),
    "account_id": ACCOUNT,
    "of": str(UUID(int=7)),
}
BUFFERS_MAX = 100
"""A scan of the log reads more than ten times as many."""
_BUFFERS = re.compile(r"shared hit=(\d+)")
REFUNDS: LiteralString = "SELECT refunded_of(%(of)s)"


def fill(connection: psycopg.Connection) -> None:
    """One account's log: each tenth event a grant's, a capture's or a refund's of id n."""
    connection.execute(
        "INSERT INTO tallystick_events (originator_id, originator_version, topic, state)"
        " SELECT %(account)s, n, CASE n %% 10 WHEN 0 THEN 'credits.granted.v1'"
        " WHEN 1 THEN 'credits.captured.v1' WHEN 2 THEN 'credits.refunded.v1'"
        " ELSE 'credits.held.v1' END, convert_to(format('{%%s:%%s,%%s:%%s,%%s:2}',"
        " to_json('hold_id'::text), to_json(lpad(to_hex(n / 10), 32, '0')::uuid),"
        " to_json('grant_id'::text), to_json(lpad(to_hex(n / 10), 32, '0')::uuid),"
        " to_json('amount'::text)), 'UTF8')"
        " FROM generate_series(1, %(events)s) AS n",
        {"account": ACCOUNT, "events": EVENTS},
    )
    connection.execute("ANALYZE tallystick_events")


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("select_hold_end", "tallystick_events_holds_idx"),
        ("select_grants_by_id", "tallystick_events_grants_idx"),
    ],
)
def test_it_is_one_probe_of_its_index(database: str, name: str, index: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        fill(connection)
        rows = connection.execute(statement(name), PARAMETERS).fetchall()
        plan = connection.execute("EXPLAIN " + statement(name), PARAMETERS).fetchall()
    assert len(rows) == 1
    assert index in str(plan), plan


def test_the_refunds_of_a_task_are_one_probe_too(database: str) -> None:
    """Seen by what it reads, since a function's plan is not shown."""
    with psycopg.connect(database, autocommit=True) as connection:
        fill(connection)
        assert connection.execute(REFUNDS, PARAMETERS).fetchone() == (2,)
        plan = connection.execute("EXPLAIN (ANALYZE, BUFFERS) " + REFUNDS, PARAMETERS).fetchall()
        assert connection.execute("SELECT refunded_of(%(hold)s)", {"hold": "x"}).fetchone() == (0,)
    assert 0 < pages_read(plan) < BUFFERS_MAX, plan


def test_the_refunds_of_groups_are_a_few_probes_each(database: str) -> None:
    """One of them had a run before, whose hold stands in its first event."""
    groups = [UUID(int=n) for n in (101, 102)]
    parameters = {"ids": groups, "holds": [str(UUID(int=n)) for n in (7, 8)], "again": groups[1:]}
    with psycopg.connect(database, autocommit=True) as connection:
        fill(connection)
        connection.execute(
            "INSERT INTO tallystick_events (originator_id, originator_version, topic, state)"
            " VALUES (%s, 1, 'group.started.v1', convert_to(%s, 'UTF8'))",
            (groups[1], f'{{"hold_id":"{UUID(int=9)}"}}'),
        )
        query = statement("select_group_refunds")
        found: dict[UUID, int] = dict(connection.execute(query, parameters).fetchall())
        plan = connection.execute("EXPLAIN (ANALYZE, BUFFERS) " + query, parameters).fetchall()
    assert found == {groups[0]: 2, groups[1]: 4}
    assert 0 < pages_read(plan) < BUFFERS_MAX, plan


def pages_read(plan: list[tuple[Any, ...]]) -> int:
    return sum(int(number) for number in _BUFFERS.findall(str(plan)))
