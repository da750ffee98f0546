"""Comparing the inline read models with the log finds every kind of difference, and no other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters import verification
from adapters.mapper import EventMapper
from adapters.verification import Comparison, compare_inline
from domain.errors import Unavailable
from domain.event import Event
from tests.histories import History
from tests.integration.read_models import commit

HISTORY = History(20, accounts=3).grow(400)
TASK = next(t for t in HISTORY.tasks.values() if t.status == "completed")
RUNNING = next(t for t in HISTORY.tasks.values() if t.status == "running")
ACCOUNT = HISTORY.accounts[1]
NOBODY = UUID(int=0)
LAST = UUID(int=2**128 - 1)
DATA_TAMPERED = (
    """UPDATE tasks SET data = replace(data::text, '"percent":100', '"percent":99')::json"""
    " WHERE id = %(task)s"
)
COPY_TASK = (
    "INSERT INTO tasks SELECT (jsonb_populate_record(t, jsonb_build_object('id', %(to)s::text))).*"
    " FROM tasks AS t WHERE id = %(task)s"
)
COPY_ACCOUNT = (
    "INSERT INTO accounts SELECT (jsonb_populate_record(a, jsonb_build_object('id',"
    " %(to)s::text))).* FROM accounts AS a WHERE id = %(account)s"
)


async def compared(dsn: str, *statements: str, to: UUID = NOBODY, most: int = 20) -> Comparison:
    """The comparison after somebody tampered with the tables."""
    with psycopg.connect(dsn) as connection:
        for statement in statements:
            connection.execute(
                statement.encode(),
                {"task": TASK.id, "running": RUNNING.id, "account": ACCOUNT, "to": to},
            )
    return await compare_inline(dsn, EventMapper(), most)


@pytest.fixture
async def filled(database: str) -> str:
    await commit(database, HISTORY.events)
    return database


@pytest.mark.postgres15
async def test_what_the_committer_wrote_is_the_fold_of_the_log(filled: str) -> None:
    assert await compared(filled) == Comparison(
        events=len(HISTORY.events),
        streams=len(HISTORY.tasks) + len(HISTORY.accounts),
        differences=(),
        complete=True,
    )


async def test_an_empty_log_with_empty_tables_has_no_differences(database: str) -> None:
    assert await compared(database) == Comparison(
        events=0, streams=0, differences=(), complete=True
    )


@pytest.mark.parametrize(
    ("tampering", "table", "field"),
    [
        ("UPDATE tasks SET status = 'failed' WHERE id = %(task)s", "tasks", "status"),
        ("UPDATE tasks SET version = version + 1 WHERE id = %(task)s", "tasks", "version"),
        ("UPDATE tasks SET account_id = %(to)s WHERE id = %(task)s", "tasks", "account_id"),
        ("UPDATE tasks SET type = 'other' WHERE id = %(task)s", "tasks", "type"),
        ("UPDATE tasks SET priority = 0 WHERE id = %(task)s", "tasks", "priority"),
        ("UPDATE tasks SET project = 'other' WHERE id = %(task)s", "tasks", "project"),
        ("UPDATE tasks SET queued_at = now() WHERE id = %(task)s", "tasks", "queued_at"),
        ("UPDATE tasks SET not_before = now() WHERE id = %(task)s", "tasks", "not_before"),
        ("UPDATE tasks SET worker = 'w9' WHERE id = %(task)s", "tasks", "worker"),
        ("UPDATE tasks SET token = token + 1 WHERE id = %(task)s", "tasks", "token"),
        ("UPDATE tasks SET created_at = now() WHERE id = %(task)s", "tasks", "created_at"),
        ("UPDATE tasks SET ended_at = NULL WHERE id = %(task)s", "tasks", "ended_at"),
        ("UPDATE tasks SET deadline_at = now() WHERE id = %(task)s", "tasks", "deadline_at"),
        ("UPDATE tasks SET percent = 99 WHERE id = %(task)s", "tasks", "percent"),
        ("UPDATE tasks SET percent = -1 WHERE id = %(running)s", "tasks", "percent"),
        ("UPDATE tasks SET input = '{}' WHERE id = %(task)s", "tasks", "data.input"),
        ("UPDATE tasks SET input = NULL WHERE id = %(task)s", "tasks", "data.input"),
        ("UPDATE tasks SET result = '{}' WHERE id = %(task)s", "tasks", "data.result"),
        ("UPDATE tasks SET result = NULL WHERE id = %(task)s", "tasks", "data.result"),
        (
            DATA_TAMPERED,
            "tasks",
            "data.percent",
        ),
        ("DELETE FROM tasks WHERE id = %(task)s", "tasks", "row"),
        (
            "UPDATE accounts SET available = available + 1 WHERE id = %(account)s",
            "accounts",
            "available",
        ),
        ("UPDATE accounts SET held = held + 1 WHERE id = %(account)s", "accounts", "held"),
        ("UPDATE accounts SET updated_at = now() WHERE id = %(account)s", "accounts", "updated_at"),
        ("DELETE FROM accounts WHERE id = %(account)s", "accounts", "row"),
    ],
)
async def test_a_row_that_was_tampered_with_is_named(
    filled: str, tampering: str, table: str, field: str
) -> None:
    found = await compared(filled, tampering)
    [difference] = found.differences
    assert (difference.table, difference.field) == (table, field)
    named = {"tasks": RUNNING.id if "running" in tampering else TASK.id, "accounts": ACCOUNT}
    assert difference.id == named[table]
    assert difference.expected != difference.found
    assert found.complete
    assert found.events == len(HISTORY.events)


@pytest.mark.parametrize("to", [NOBODY, LAST], ids=["first", "last"])
@pytest.mark.parametrize(
    ("copy", "table"), [(COPY_TASK, "tasks"), (COPY_ACCOUNT, "accounts")], ids=["task", "account"]
)
async def test_a_row_without_a_stream_is_surplus(
    filled: str, copy: str, table: str, to: UUID
) -> None:
    found = await compared(filled, copy, to=to)
    rows = [d for d in found.differences if d.field == "row"]
    assert [(d.table, d.id, d.expected, d.found) for d in rows] == [(table, to, "none", "a row")]


async def test_progress_ahead_of_the_last_stage_is_no_difference(filled: str) -> None:
    found = await compared(filled, "UPDATE tasks SET percent = 100 WHERE id = %(running)s")
    assert found.differences == ()


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE tallystick_events SET state = '{{' WHERE {first}",
        "UPDATE tallystick_events SET topic = 'task.teleported.v1' WHERE {first}",
        "DELETE FROM tallystick_events WHERE {first}",
        "DELETE FROM tallystick_events WHERE {second}",
    ],
    ids=["unreadable", "unknown", "first missing", "second missing"],
)
async def test_a_log_that_does_not_fold_is_told_and_the_rest_compared(
    filled: str, tampering: str
) -> None:
    at = "originator_id = %(task)s AND originator_version = "
    found = await compared(filled, tampering.format(first=at + "1", second=at + "2"))
    [difference] = found.differences
    assert (difference.table, difference.id, difference.field) == ("log", TASK.id, "event")
    assert found.complete


async def test_it_stops_at_so_many_differences(filled: str) -> None:
    found = await compared(filled, "UPDATE tasks SET priority = 7", most=5)
    assert len(found.differences) == 5
    assert not found.complete


async def test_what_is_shown_of_a_difference_is_bounded(filled: str) -> None:
    found = await compared(
        filled,
        """UPDATE tasks SET input = format('{"a":"%%s"}', repeat('x', 100000))::json"""
        " WHERE id = %(task)s",
    )
    [difference] = found.differences
    assert len(difference.found) == 200


async def test_writers_that_go_on_meanwhile_are_not_differences(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log and tables are read in one snapshot, whatever is written in between."""
    more = iter(History(22, accounts=2).grow(200).events)
    written: list[Event] = []
    start = verification._Audit._open

    async def open_after_a_commit(*arguments: Any) -> Any:
        cursor = await start(*arguments)
        written.append(next(more))
        await commit(filled, written[-1:])
        return cursor

    monkeypatch.setattr(verification._Audit, "_open", open_after_a_commit)
    assert (await compare_inline(filled, EventMapper())).differences == ()
    assert max(event.originator_version for event in written) > 1


async def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await compare_inline("host=/nonexistent dbname=x", EventMapper())
