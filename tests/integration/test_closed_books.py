"""A ledger loads from the newest of its snapshots and its closed books, whichever are left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL

from adapters import snapshots, stream_cache
from adapters.arrays import Bigints, Uuids
from adapters.committer import Committer
from adapters.mapper import EventMapper
from adapters.snapshots import SNAPSHOTS_KEPT, SnapshotWriter
from adapters.sql import statement
from adapters.stream_cache import StreamCache
from domain.aggregate import SNAPSHOT_EVENTS
from domain.event import Event
from domain.ledger import CaptureHold, CloseBooks, CreditLedger, SettleDue
from tests.fault import commands
from tests.fault.books import Books
from tests.fault.commands import new_id, on_ledger, open_account
from tests.fault.writers import running

CREDITS = 10_000
LONG = 100_000
LOST = "DELETE FROM tallystick_snapshots"
TORN = "UPDATE tallystick_snapshots SET state = 'torn'"
TORN_NEWEST = (
    "UPDATE tallystick_snapshots SET state = 'torn' WHERE originator_version ="
    " (SELECT max(originator_version) FROM tallystick_snapshots)"
)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Topics that were loaded."""
    topics: list[str] = []
    decode = EventMapper.decode

    def noted(mapper: EventMapper, topic: str, state: bytes) -> Event:
        event = decode(mapper, topic, state)
        topics.append(topic.removesuffix(".v1"))
        return event

    monkeypatch.setattr(EventMapper, "decode", noted)
    return topics


async def _hold(committer: Committer, account_id: UUID, count: int) -> None:
    await asyncio.gather(*(committer.execute(commands.hold(account_id)) for _ in range(count)))


async def _close(committer: Committer, account_id: UUID, period: str) -> None:
    await committer.execute(on_ledger(account_id, CloseBooks(period=period)))


async def _opened(committer: Committer, holds: int) -> UUID:
    account_id = new_id()
    await committer.execute(open_account(account_id, amount=CREDITS))
    await _hold(committer, account_id, holds)
    return account_id


async def _loaded(dsn: str, account_id: UUID) -> CreditLedger:
    """The ledger as a new process has it, once it has decided something on it."""
    async with running(dsn) as committer:
        done = await committer.execute(on_ledger(account_id, SettleDue()))
    assert done.events == ()
    state = done.states[account_id]
    assert isinstance(state, CreditLedger)
    return state


def _execute(dsn: str, query: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(query.encode())


def _versions(dsn: str) -> list[int]:
    query = "SELECT originator_version FROM tallystick_snapshots ORDER BY 1"
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(query)]


async def test_closing_the_books_takes_a_snapshot_at_once(database: str) -> None:
    async with running(database) as committer:
        account_id = await _opened(committer, 10)
        await _close(committer, account_id, "2026-10")
    assert _versions(database) == [13]


async def test_the_newest_two_snapshots_of_each_stream_are_kept(database: str) -> None:
    async with running(database) as committer:
        other = await _opened(committer, 3)
        await _close(committer, other, "2026-01")
    for month in range(1, 6):
        async with running(database) as committer:
            if month == 1:
                account_id = await _opened(committer, 3)
            await _close(committer, account_id, f"2026-{month:02}")
    assert _versions(database) == [6, 9, 10]
    assert SNAPSHOTS_KEPT == 2


@pytest.mark.parametrize(
    ("loss", "begins"),
    [
        pytest.param("SELECT", ["ledger.snapshot"], id="nothing"),
        pytest.param(LOST, ["books.closed"], id="lost"),
        pytest.param(TORN, ["books.closed"], id="torn"),
        pytest.param(TORN_NEWEST, ["books.closed"], id="newest torn"),
    ],
)
async def test_a_ledger_loads_from_what_is_left(
    database: str, decoded: list[str], loss: str, begins: list[str]
) -> None:
    async with running(database) as committer:
        account_id = await _opened(committer, 5)
        await _close(committer, account_id, "2026-09")
        await _hold(committer, account_id, 5)
        await _close(committer, account_id, "2026-10")
        await _hold(committer, account_id, 5)
    _execute(database, loss)
    decoded.clear()
    state = await _loaded(database, account_id)
    assert decoded == begins + ["credits.held"] * 5
    assert state == Books(database).verify().ledgers[account_id]


async def test_a_torn_snapshot_gives_way_to_the_one_before(
    database: str, decoded: list[str]
) -> None:
    async with running(database) as committer:
        account_id = await _opened(committer, 5)
        for _ in range(2 * SNAPSHOT_EVENTS // 100):
            await _hold(committer, account_id, 100)
    first, second = _versions(database)
    _execute(database, TORN_NEWEST)
    decoded.clear()
    state = await _loaded(database, account_id)
    assert decoded == ["ledger.snapshot"] + ["credits.held"] * (state.version - first)
    assert second > first
    assert state == Books(database).verify().ledgers[account_id]


async def test_closed_books_newer_than_every_snapshot_are_begun_with(
    database: str, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the commit and the snapshot."""
    async with running(database) as committer:
        account_id = await _opened(committer, 5)
        await _close(committer, account_id, "2026-09")
    with monkeypatch.context() as patch:
        patch.setattr(SnapshotWriter, "take", lambda *_: None)
        async with running(database) as committer:
            await _hold(committer, account_id, 5)
            await _close(committer, account_id, "2026-10")
            await _hold(committer, account_id, 2)
    assert _versions(database) == [8]
    decoded.clear()
    state = await _loaded(database, account_id)
    assert decoded == ["books.closed", "credits.held", "credits.held"]
    assert state == Books(database).verify().ledgers[account_id]


async def test_a_crash_before_old_snapshots_go_leaves_them_to_the_next(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database) as committer:
        account_id = await _opened(committer, 3)
        await _close(committer, account_id, "2026-01")

    def crash(name: str) -> str:
        if name == "delete_snapshots":
            raise OSError(name)
        return statement(name)

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "statement", crash)
        for month in (2, 3):
            async with running(database) as committer:
                await _close(committer, account_id, f"2026-{month:02}")
    assert _versions(database) == [6, 7, 8]
    async with running(database) as committer:
        await _close(committer, account_id, "2026-04")
    assert _versions(database) == [8, 9]


async def test_a_long_stream_is_loaded_in_sections_and_the_next_time_from_a_snapshot(
    database: str, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of one moment with another that is short, whose own section ended before."""
    monkeypatch.setattr(stream_cache, "SECTION_EVENTS_MAX", 20)
    monkeypatch.setattr(stream_cache, "SNAPSHOT_EVENTS", 9)
    async with running(database) as committer:
        account_id = await _opened(committer, 101)
        await committer.execute(
            on_ledger(account_id, CaptureHold(hold_id=_a_hold(database, account_id).id, amount=1))
        )
    _execute(database, LOST)
    state = await _loaded(database, account_id)
    assert state == Books(database).verify().ledgers[account_id]
    assert _versions(database)[-1] == 100
    decoded.clear()
    assert await _loaded(database, account_id) == state
    assert decoded == ["ledger.snapshot"] + ["credits.held"] * 3 + ["credits.captured"]


async def test_a_long_load_that_runs_out_of_time_is_gone_on_with(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is given up at the third section; the next try need not begin anew."""
    monkeypatch.setattr(stream_cache, "SECTION_EVENTS_MAX", 20)
    monkeypatch.setattr(stream_cache, "SNAPSHOT_EVENTS", 9)
    async with running(database) as committer:
        account_id = await _opened(committer, 100)
    _execute(database, LOST)
    fold, begun = StreamCache._fold_section, list[int]()

    async def timed(cache: StreamCache, cursor: Any, wanted: Any, states: Any) -> bool:
        version = 0 if states[account_id] is None else states[account_id].version
        begun.append(version)
        if begun == [0, 20, 40]:
            await committer._snapshots.close()
            raise TimeoutError
        return await fold(cache, cursor, wanted, states)

    monkeypatch.setattr(StreamCache, "_fold_section", timed)
    async with running(database) as committer:
        await _hold(committer, account_id, 1)
    assert begun[:4] == [0, 20, 40, 40]
    Books(database).verify()


def _a_hold(dsn: str, account_id: UUID) -> Any:
    return next(iter(Books(dsn).ledgers[account_id].holds.values()))


# How much is read.


def _fill(dsn: str, account_id: UUID) -> None:
    """A stream of `LONG` events, books closed 3 times in it and a snapshot 10 before its end."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for stream_id, events, kept in ((account_id, LONG, 3), (new_id(), LONG, LONG // 10)):
            connection.execute(
                "INSERT INTO tallystick_events (originator_id, originator_version, topic, state)"
                " SELECT %s, v, CASE WHEN v IN (5, 500, 90000) THEN 'books.closed.v1'"
                " ELSE 'credits.held.v1' END, 'x' FROM generate_series(1, %s) AS v",
                (stream_id, events),
            )
            connection.execute(
                "INSERT INTO tallystick_snapshots SELECT %s, v, 'ledger.snapshot.v1', 'x'"
                " FROM generate_series(%s, %s, 10) AS v",
                (stream_id, events - 10 * kept, events - 10),
            )
        connection.execute("VACUUM ANALYZE")


def _rows_read(dsn: str, name: str, parameters: Sequence[object], mode: str) -> float:
    """Rows that the statement's scans looked at."""
    with psycopg.connect(dsn) as connection:
        connection.execute(SQL("SET plan_cache_mode = {}").format(mode))
        cursor = connection.cursor(binary=True)
        query: Any = "EXPLAIN (ANALYZE, FORMAT JSON) " + statement(name)
        cursor.execute(query, parameters, prepare=True)
        row = cursor.fetchone()
    assert row is not None
    waiting, read = [row[0][0]["Plan"]], 0.0
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if "Relation Name" in node and node["Node Type"] != "ModifyTable":
            assert node["Node Type"] in {"Index Scan", "Index Only Scan"}, node
            removed = node.get("Rows Removed by Filter", 0)
            read += (node["Actual Rows"] + removed) * node["Actual Loops"]
    return read


@pytest.mark.postgres15
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_loading_reads_the_tail_after_the_newest_snapshot_and_no_more(
    database: str, mode: str
) -> None:
    account_id = new_id()
    _fill(database, account_id)
    ids = Uuids([account_id])
    assert _rows_read(database, "select_snapshots", (ids, SNAPSHOTS_KEPT), mode) == 3
    tail = (ids, Bigints([LONG - 10]), 501)
    assert _rows_read(database, "select_tails", tail, mode) == 10
    section = (ids, Bigints([0]), 501)
    assert _rows_read(database, "select_tails", section, mode) == 501


@pytest.mark.postgres15
def test_pruning_reads_one_streams_snapshots(database: str) -> None:
    account_id = new_id()
    _fill(database, account_id)
    ids = Uuids([account_id])
    read = _rows_read(database, "delete_snapshots", (ids, SNAPSHOTS_KEPT), "force_generic_plan")
    # Of the kept ones twice, and what goes.
    assert read <= 3 * SNAPSHOTS_KEPT
