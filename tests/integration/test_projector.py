"""A projector takes each event exactly once, whatever the batches, restarts and rivals."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any, Self

import msgspec
import psycopg
import pytest
from psycopg import AsyncConnection, AsyncCursor, OperationalError

from adapters import read_model
from adapters.mapper import EventMapper
from adapters.projector import Projector
from adapters.read_model import ReadModel
from adapters.read_tables import BEHIND, JOURNAL_TABLE, STATEMENT_TABLE, STATISTICS_TABLE, ReadTable
from adapters.wakeup import Wakeup
from domain.errors import NotFound, ShuttingDown, Unavailable
from tests.histories import History, store
from tests.integration.decisions import grant, open_account, running_committer
from tests.integration.read_models import content, drain, expected, positions, projector, status_of

BOTH = pytest.mark.parametrize("table", BEHIND, ids=lambda t: t.projection.name)
NEVER_SECONDS = 600.0


async def passed(one: Projector, position: int) -> None:
    """Until `one` has come to a position by itself, without being asked to hurry."""
    async with asyncio.timeout(20), one._moved:
        await one._moved.wait_for(lambda: one.position >= position)


def idling(one: Projector) -> asyncio.Event:
    """Set whenever `one` has found the log's end and waits for more; for the caller to clear."""
    idle = asyncio.Event()
    wait = one._watch.wait

    async def tell(timeout: float) -> bool:  # noqa: ASYNC109 - stands in for another
        idle.set()
        return await wait(timeout)

    one._watch.wait = tell  # type: ignore[method-assign]
    return idle


@pytest.mark.postgres15
@pytest.mark.parametrize(("batch", "turns"), [(1, 50), (7, 3), (100, 1), (2_000, 1)])
async def test_any_batch_size_and_restart_point_leave_what_one_fold_leaves(
    database: str, batch: int, turns: int
) -> None:
    events = History(batch).grow(400).events
    store(database, events)
    for table in BEHIND:
        while True:
            async with projector(database, table, batch_events_max=batch) as one:
                if not sum([await one.run_once() for _ in range(turns)]):
                    break
    assert content(database) == expected(events)


async def test_batches_end_at_a_number_of_bytes_and_miss_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_model, "BATCH_BYTES_MAX", 700)
    events = History(5).grow(300).events
    store(database, events)
    async with projector(database, STATEMENT_TABLE) as one:
        sizes = [await one.run_once()]
        while sizes[-1]:
            sizes.append(await one.run_once())
    assert sum(sizes) == len(events)
    assert len(sizes) > len(events) / 20
    await drain(database, [STATISTICS_TABLE, JOURNAL_TABLE])
    assert content(database) == expected(events)


async def test_an_event_above_the_byte_limit_is_taken_alone(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_model, "BATCH_BYTES_MAX", 1)
    events = History(5, accounts=2).events
    store(database, events)
    await drain(database)
    assert content(database) == expected(events)


async def test_gaps_in_the_log_are_no_end(database: str) -> None:
    events = History(6).grow(60).events
    store(database, events[:30])
    with psycopg.connect(database) as connection:
        connection.execute("SELECT setval('tallystick_events_notification_id_seq', 5000)")
    head = store(database, events[30:])
    await drain(database, batch_events_max=10)
    assert content(database) == expected(events, positions(database))
    async with status_of(database) as status:
        assert {lag.position for lag in await status.lag()} == {head}


@BOTH
async def test_it_hears_of_new_events_at_once(database: str, table: ReadTable) -> None:
    wakeup = Wakeup(database)
    async with (
        wakeup,
        projector(database, table, wakeup=wakeup, poll_seconds=NEVER_SECONDS) as one,
        running_committer(database) as committer,
        asyncio.timeout(20),
        asyncio.TaskGroup() as group,
    ):
        idle = idling(one)
        group.create_task(one.run())
        account = History(1).accounts[0]
        for decision in (open_account(account), grant(account, 5), grant(account, 6)):
            await idle.wait()
            idle.clear()
            committed = await committer.execute(decision)
            await passed(one, committed.position)
        await one.close()


async def test_it_finds_new_events_by_polling_when_nothing_wakes_it(database: str) -> None:
    events = History(2).grow(90).events
    async with (
        projector(database, STATEMENT_TABLE, poll_seconds=0.02) as one,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(one.run())
        for begin in range(0, 90, 30):
            await passed(one, store(database, events[begin : begin + 30]))
        await one.close()
    assert content(database)["statement_lines"] == expected(events[:90])["statement_lines"]


async def test_whoever_waits_for_a_position_hurries_it_on(database: str) -> None:
    events = History(2).grow(60).events
    one = projector(database, STATEMENT_TABLE, poll_seconds=NEVER_SECONDS)
    idle = idling(one)
    async with one, asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(one.run())
        for part in (events[:30], events[30:]):
            await idle.wait()
            idle.clear()
            await one.catch_up(store(database, part))
        rows = content(database)["statement_lines"]
        await one.close()
    assert rows == expected(events)["statement_lines"]


async def test_a_wait_for_a_position_ends_with_the_projector(database: str) -> None:
    one = projector(database, STATEMENT_TABLE)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(one.run())
        waiting = group.create_task(_refused(one))
        await passed(one, 0)
        await one.close()
        await waiting


async def _refused(one: Projector) -> None:
    with pytest.raises(ShuttingDown):
        await one.catch_up(1)


async def test_one_leads_and_another_takes_over_when_it_closes(database: str) -> None:
    events = History(3).grow(60).events
    store(database, events)
    async with projector(database, STATEMENT_TABLE, batch_events_max=10) as standby:
        async with projector(database, STATEMENT_TABLE, batch_events_max=10) as leader:
            assert await leader.run_once() == 10
            assert await standby.run_once() == 0
            assert (leader.leading, standby.leading) == (True, False)
            assert standby.position == 10
        assert await standby.run_once() == 10
        assert standby.leading
    await drain(database)
    assert content(database) == expected(events)


async def test_projections_are_led_each_for_itself(database: str) -> None:
    async with (
        projector(database, STATEMENT_TABLE) as statement,
        projector(database, STATISTICS_TABLE) as statistics,
    ):
        await statement.run_once()
        await statistics.run_once()
        assert statement.leading
        assert statistics.leading


@BOTH
async def test_even_two_leaders_take_each_event_once(database: str, table: ReadTable) -> None:
    events = History(4).grow(400).events
    store(database, events)
    model = ReadModel(table, EventMapper())

    async def lead() -> int:
        taken = 0
        connection = await AsyncConnection.connect(database, autocommit=True)
        async with connection:
            await model.begin(connection)
            while (advance := await model.advance(connection, 3)).passed:
                taken += advance.passed
        return taken

    taken = await asyncio.gather(lead(), lead(), lead())
    assert sum(taken) == len(events)
    assert sum(map(bool, taken)) > 1
    await drain(database)
    assert content(database) == expected(events)
    async with status_of(database) as status:
        assert await status.parked() == []


class DyingCursor(AsyncCursor[tuple[Any, ...]]):
    """Loses its connection before or after the `last`-th statement of all."""

    last = 0
    after = False
    statements = 0

    async def execute(self, *arguments: Any, **options: Any) -> Self:
        cursor = type(self)
        cursor.statements += 1
        dies = cursor.statements == cursor.last
        if not dies or self.after:
            await super().execute(*arguments, **options)
        if dies:
            self.connection.pgconn.finish()
            raise OperationalError("gone")
        return self


@pytest.mark.fault
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@BOTH
async def test_a_crash_at_any_statement_leaves_the_batch_whole_or_undone(
    database: str,
    table: ReadTable,
    after: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = History(9).grow(400).events
    store(database, events)
    model = ReadModel(table, EventMapper())
    monkeypatch.setattr(DyingCursor, "after", after)
    for last in itertools.count(1):
        monkeypatch.setattr(DyingCursor, "last", last)
        monkeypatch.setattr(DyingCursor, "statements", 0)
        connection = await AsyncConnection.connect(
            database, autocommit=True, cursor_factory=DyingCursor
        )
        try:
            await model.begin(connection)
            await model.advance(connection, 20)
            break
        except OperationalError:
            continue
        finally:
            await connection.close()
    assert last > 7, "tracking, batch, parked, rows, lines or counts, position"
    await drain(database)
    assert content(database) == expected(events)
    async with status_of(database) as status:
        assert await status.parked() == []


async def test_a_leader_that_falls_silent_loses_the_lead_and_is_a_standby_when_back(
    database: str,
) -> None:
    events = History(3).grow(60).events
    head = store(database, events)
    silent = projector(database, STATEMENT_TABLE, batch_events_max=10, silence_seconds_max=0.2)
    standby = projector(database, STATEMENT_TABLE, standby_seconds=0.02)
    async with silent, standby, asyncio.timeout(20), asyncio.TaskGroup() as group:
        assert await silent.run_once() == 10
        group.create_task(standby.run())
        await standby.catch_up(head)
        with pytest.raises(Unavailable):
            await silent.run_once()
        assert await silent.run_once() == 0
        assert not silent.leading
        await standby.close()
    assert content(database)["statement_lines"] == expected(events)["statement_lines"]


async def test_a_lost_connection_is_made_anew(database: str) -> None:
    events = History(3).grow(90).events
    one = projector(database, STATEMENT_TABLE, poll_seconds=NEVER_SECONDS, retry_seconds=0.01)
    async with one, asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(one.run())
        for begin in range(0, 90, 30):
            await one.catch_up(store(database, events[begin : begin + 30]))
            with psycopg.connect(database) as connection:
                ended = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'tallystick statement.v1'"
                    " AND datname = current_database()"
                ).fetchall()
            assert ended == [(True,)]
        await one.close()
    assert content(database)["statement_lines"] == expected(events[:90])["statement_lines"]


async def test_a_cancelled_run_gives_up_the_lead(database: str) -> None:
    one = projector(database, STATEMENT_TABLE)
    run = asyncio.create_task(one.run())
    head = store(database, History(1).events)
    await one.catch_up(head)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    async with projector(database, STATEMENT_TABLE) as other:
        await other.run_once()
        assert other.leading
    await one.close()


async def test_a_table_of_another_shape_parks_nothing_and_is_waited_out(database: str) -> None:
    events = History(1).grow(30).events
    head = store(database, events)
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE statement_lines RENAME position TO away")
    one = projector(database, STATEMENT_TABLE, retry_seconds=0.01)
    async with one, asyncio.timeout(20), asyncio.TaskGroup() as group:
        failing = asyncio.Event()
        turn = one._turn

        async def seen() -> int | None:
            result = await turn()
            if result is None:
                failing.set()
            return result

        one._turn = seen  # type: ignore[method-assign]
        group.create_task(one.run())
        await failing.wait()
        with psycopg.connect(database) as connection:
            connection.execute("ALTER TABLE statement_lines RENAME away TO position")
        await one.catch_up(head)
        await one.close()
    assert content(database)["statement_lines"] == expected(events)["statement_lines"]
    async with status_of(database) as status:
        assert await status.parked() == []


async def test_lag_is_told_in_events_and_in_seconds_of_the_database(database: str) -> None:
    history = History(1)
    events = history.events
    with psycopg.connect(database) as connection:
        [now] = connection.execute("SELECT clock_timestamp()").fetchone() or ()
    events = [
        msgspec.structs.replace(
            event, meta=msgspec.structs.replace(event.meta, at=now - timedelta(seconds=100 - i))
        )
        for i, event in enumerate(events)
    ]
    head = store(database, events)
    async with status_of(database) as status:
        [behind, *_] = await status.lag()
        async with projector(database, STATEMENT_TABLE, batch_events_max=2) as one:
            await one.run_once()
            [nearer, *untouched] = await status.lag()
            while await one.run_once():
                pass
            [done, *_] = await status.lag()
    assert (behind.events, behind.position, behind.led) == (head, 0, False)
    assert behind.seconds is not None
    assert 100 <= behind.seconds < 110
    assert (nearer.events, nearer.position, nearer.led) == (head - 2, 2, True)
    assert nearer.seconds is not None
    assert 98 <= nearer.seconds < 108
    assert [(one.projection, one.events) for one in untouched] == [
        ("statistics.v2", head),
        ("journal.v1", head),
    ]
    assert (done.projection, done.events, done.seconds) == ("statement.v1", 0, 0.0)


async def test_an_empty_log_is_no_lag(database: str) -> None:
    async with status_of(database) as status:
        for lag in await status.lag():
            assert (lag.events, lag.seconds, lag.led, lag.parked_streams) == (0, 0.0, False, 0)


async def test_a_read_model_that_has_not_begun_cannot_advance(database: str) -> None:
    async with await AsyncConnection.connect(database) as connection:
        with pytest.raises(NotFound, match=r"statement\.v1 has not begun"):
            await ReadModel(STATEMENT_TABLE, EventMapper()).advance(connection)


async def test_a_database_that_is_away_is_unavailable() -> None:
    one = projector("host=/nonexistent dbname=x", STATEMENT_TABLE)
    async with one:
        with pytest.raises(Unavailable):
            await one.run_once()
