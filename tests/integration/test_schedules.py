"""Schedules on a real log: a firing is one commit with its task and hold, whoever tries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest
from msgspec import Raw

from adapters.clock import DatabaseClock
from adapters.committer import Committer
from adapters.decision import States
from adapters.documents import Documents
from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from domain import schedule
from domain.aggregate import SCHEDULES, Stream
from domain.errors import (
    AdapterError,
    InvalidInput,
    LimitReached,
    NotFound,
    TallystickError,
    UnknownTaskType,
)
from domain.event import Event, Metadata
from domain.schedule import CreateSchedule, Firing, Schedule
from service.bootstrap import open_service
from service.command_bus import CommandBus
from service.identifiers import new_id
from service.schedules import NewSchedule, ScheduleLimits, Schedules, next_times
from service.settings import Settings
from service.task_types import TaskTypes
from service.tick import tick
from tallystick.handler import Context, Handler, handler
from tests.integration.bus import CREDITS, ORIGIN, Bench, opened

MINUTE = timedelta(minutes=1)
YEARLY = "0 0 1 1 *"


class Note(msgspec.Struct, frozen=True):
    text: str = ""


@handler("note", price_credits=3)
async def note(given: Note, _: Context) -> Note:
    return given


@handler("forgotten", price_credits=3)
async def forgotten(given: Note, _: Context) -> Note:
    return given


HANDLERS: tuple[Handler, ...] = (note, forgotten)


class Begun(msgspec.Struct, frozen=True):
    """Times that began in the past: a schedule that nobody fired since."""

    first: datetime

    def after(self, at: datetime) -> datetime:
        return self.first

    def firing(self, due_at: datetime, now: datetime) -> Firing:
        raise NotImplementedError


def since(bench: Bench, minutes: int) -> datetime:
    """A full minute that many ago, by the database's clock."""
    (now,) = bench.row("SELECT date_trunc('minute', clock_timestamp())")
    assert isinstance(now, datetime)
    return now.astimezone(UTC) - minutes * MINUTE


async def begun(bench: Bench, first: datetime | None = None, **fields: object) -> UUID:
    """A schedule that has been due since `first`, a moment ago by default."""
    schedule_id, first = new_id(), first or since(bench, 0)
    given: dict[str, object] = {
        "cron": YEARLY,
        "zone": "UTC",
        "type": "note",
        "input": Raw(b'{"text":"hi"}'),
        **fields,
    }
    command = CreateSchedule(
        schedule_id=schedule_id,
        account_id=bench.account_id,
        **given,  # type: ignore[arg-type]
    )

    def decide(states: States, meta: Metadata) -> Sequence[Event]:
        return schedule.decide(states[schedule_id], command, Begun(first), meta)

    await bench.bus.execute(decide, ORIGIN, new=(Stream(SCHEDULES, schedule_id),))
    return schedule_id


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, HANDLERS) as opened_bench:
        yield opened_bench


@pytest.fixture
def schedules(bench: Bench) -> Schedules:
    return Schedules(bench.bus, bench.types)


async def shown(bench: Bench, schedule_id: UUID) -> Schedule:
    """The schedule as its document tells of it."""
    view = await Documents(bench.pool).document("schedule", schedule_id)
    assert view is not None
    state = msgspec.json.decode(bytes(view.data), type=Schedule)
    assert (view.version, view.status, view.due_at) == (state.version, state.status, state.next_at)
    return state


def new(bench: Bench, **fields: object) -> NewSchedule:
    given: dict[str, object] = {
        "cron": "0 3 * * *",
        "zone": "Europe/Berlin",
        "type": "note",
        "input": Raw(b"{}"),
        **fields,
    }
    return NewSchedule(schedule_id=new_id(), account_id=bench.account_id, **given)  # type: ignore[arg-type]


def tasks_of(bench: Bench) -> int:
    return int(bench.row("SELECT count(*) FROM tasks")[0])


async def test_one_that_is_due_submits_its_task_with_its_hold(
    bench: Bench, schedules: Schedules
) -> None:
    schedule_id = await begun(bench, priority=1, project="films")
    assert await schedules.fire(10) == 1
    state = await shown(bench, schedule_id)
    assert (state.fired, state.missed, state.status) == (1, 0, "active")
    assert state.next_at is not None
    assert (state.next_at.month, state.next_at.day) == (1, 1)
    assert state.last_task_id is not None
    task = bench.task(state.last_task_id)
    assert (task.type, task.priority, task.project, task.credits_held) == ("note", 1, "films", 3)
    assert task.correlation_id == schedule_id
    assert bench.row("SELECT input::text FROM tasks")[0] == '{"text":"hi"}'
    assert bench.money() == (CREDITS - 3, 3, 0)


async def test_the_task_its_hold_and_the_firing_are_one_append(
    bench: Bench, schedules: Schedules
) -> None:
    schedule_id = await begun(bench)
    await schedules.fire(10)
    with psycopg.connect(bench.dsn) as connection:
        rows = connection.execute(
            "SELECT topic, xmin::text FROM tallystick_events ORDER BY notification_id DESC LIMIT 3"
        ).fetchall()
    topics = [topic for topic, _ in rows]
    assert topics == ["schedule.fired.v1", "credits.held.v1", "task.submitted.v1"]
    assert len({transaction for _, transaction in rows}) == 1
    assert bench.topics(schedule_id) == ["schedule.created", "schedule.fired"]


async def test_what_is_not_due_does_not_fire(bench: Bench, schedules: Schedules) -> None:
    await schedules.create(new(bench), origin=ORIGIN)
    assert await schedules.fire(10) == 0
    assert tasks_of(bench) == 0


async def test_once_fired_it_waits_for_its_next_time(bench: Bench, schedules: Schedules) -> None:
    await begun(bench, first=since(bench, 60))
    assert [await schedules.fire(10) for _ in range(3)] == [1, 0, 0]
    assert tasks_of(bench) == 1


async def test_missed_times_fire_once_for_the_latest_and_are_counted(
    bench: Bench, schedules: Schedules
) -> None:
    first = since(bench, 7)
    schedule_id = await begun(bench, first, cron="* * * * *")
    assert await schedules.fire(10) == 1
    state = await shown(bench, schedule_id)
    assert tasks_of(bench) == 1
    assert state.last_due_at is not None
    assert state.last_due_at == first + state.missed * MINUTE
    assert state.missed in {7, 8}  # the minute may have ended meanwhile
    assert state.next_at == state.last_due_at + MINUTE


async def test_of_many_processes_one_fires_each_time(database: str, bench: Bench) -> None:
    for _ in range(20):
        await begun(bench)
    async with AsyncExitStack() as stack:
        rivals = []
        for _ in range(4):
            committer = Committer(database, EventMapper(), DatabaseClock())
            await committer.start()
            stack.push_async_callback(committer.close)
            rivals.append(Schedules(CommandBus(committer, bench.types), bench.types))
        counts = await asyncio.gather(*(rival.fire(7) for rival in rivals for _ in range(5)))
    assert sum(counts) == 20
    assert tasks_of(bench) == 20
    assert bench.money() == (CREDITS - 60, 60, 0)
    assert bench.row(
        "SELECT count(*) FROM tallystick_events WHERE topic = 'schedule.fired.v1'"
    ) == (20,)


async def test_firings_of_one_sweep_share_the_balance(database: str) -> None:
    """Each is decided on what those before it left, so credits for one are not spent by two."""
    async with opened(database, HANDLERS) as bench:
        schedules = Schedules(bench.bus, bench.types)
        for number in range(CREDITS // 3 + 5):
            await begun(bench, name=str(number))
        fired = 0
        while swept := await schedules.fire(200):
            fired += swept
        assert fired == CREDITS // 3 + 5
        assert tasks_of(bench) == CREDITS // 3
        assert bench.money() == (CREDITS % 3, CREDITS - CREDITS % 3, 0)
        skipped = bench.row(
            "SELECT count(*) FROM tallystick_events WHERE topic = 'schedule.skipped.v1'"
        )
        assert skipped == (5,)


async def test_a_refused_submission_is_skipped_and_told_and_holds_nothing(bench: Bench) -> None:
    without = Schedules(CommandBus(bench.committer, TaskTypes([note])), bench.types)
    schedule_id = await begun(bench, type="forgotten", skips_max=1)
    assert await without.fire(10) == 1
    state = await shown(bench, schedule_id)
    assert (state.status, state.pause_cause, state.skipped) == ("paused", "refused", 1)
    assert state.last_refusal is not None
    assert state.last_refusal.reason == "unknown_task_type"
    assert "forgotten" in state.pause_reason
    assert (tasks_of(bench), bench.money()) == (0, (CREDITS, 0, 0))
    assert await without.fire(10) == 0


async def test_one_that_cannot_be_reckoned_pauses_and_holds_up_no_other(
    bench: Bench, schedules: Schedules
) -> None:
    lost = await begun(bench, first=since(bench, 9), zone="Mars/Olympus")
    good = await begun(bench)
    assert await schedules.fire(10) == 2
    state = await shown(bench, lost)
    assert (state.status, state.pause_reason) == ("paused", "There is no such time zone.")
    assert (await shown(bench, good)).fired == 1


async def test_a_task_of_a_schedule_runs_and_is_charged(bench: Bench, schedules: Schedules) -> None:
    await begun(bench)
    await schedules.fire(10)
    await bench.worker().run(until_idle=True)
    assert bench.money() == (CREDITS - 3, 0, 3)


async def test_what_its_user_asks_is_done_once(bench: Bench, schedules: Schedules) -> None:
    given = new(bench)
    one, mine = given.schedule_id, bench.account_id
    await schedules.create(given, origin=ORIGIN)
    for _ in range(2):
        await schedules.pause(one, mine, reason="holidays", origin=ORIGIN)
    assert (await shown(bench, one)).next_at is None
    for _ in range(2):
        await schedules.resume(one, mine, origin=ORIGIN)
    state = await shown(bench, one)
    assert state.next_at is not None
    local = [time.isoformat() for time in next_times(state, 3)]
    assert len(local) == len(set(local)) == 3
    for _ in range(2):
        await schedules.delete(one, mine, origin=ORIGIN)
    assert bench.topics(one) == [
        "schedule.created",
        "schedule.paused",
        "schedule.resumed",
        "schedule.deleted",
    ]
    assert next_times(await shown(bench, one), 3) == []


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"cron": "0 0 31 2 *"}, InvalidInput),
        ({"cron": "0 0 */3 2 MON#5"}, InvalidInput),
        ({"cron": "soon"}, InvalidInput),
        ({"zone": "Mars/Olympus"}, InvalidInput),
        ({"type": "nothing"}, UnknownTaskType),
        ({"input": Raw(b'{"text":1}')}, InvalidInput),
        ({"priority": "vip"}, InvalidInput),
    ],
    ids=["no such day", "never", "no cron", "zone", "type", "input", "priority"],
)
async def test_what_cannot_work_is_refused_at_once_and_writes_nothing(
    bench: Bench, schedules: Schedules, fields: dict[str, object], refusal: type[TallystickError]
) -> None:
    with pytest.raises(refusal):
        await schedules.create(new(bench, **fields), origin=ORIGIN)
    assert bench.row("SELECT count(*) FROM documents") == (0,)


async def test_anothers_schedule_is_not_found(bench: Bench, schedules: Schedules) -> None:
    given = new(bench)
    await schedules.create(given, origin=ORIGIN)
    for account_id, schedule_id in ((new_id(), given.schedule_id), (bench.account_id, new_id())):
        with pytest.raises(NotFound):
            await schedules.delete(schedule_id, account_id, origin=ORIGIN)


async def test_an_account_has_so_many_schedules_and_no_more_at_once_or_in_turn(
    bench: Bench,
) -> None:
    schedules = Schedules(bench.bus, bench.types, ScheduleLimits(schedules_max=3))
    asked = [new(bench) for _ in range(8)]
    answers = await asyncio.gather(
        *(schedules.create(one, origin=ORIGIN) for one in asked), return_exceptions=True
    )
    made = [a for a in answers if not isinstance(a, BaseException)]
    assert len(made) == 3
    assert all(isinstance(a, LimitReached) for a in answers if a not in made)
    first = made[0].events[0].originator_id
    await schedules.delete(first, bench.account_id, origin=ORIGIN)
    await schedules.create(new(bench), origin=ORIGIN)
    with pytest.raises(LimitReached):
        await schedules.create(new(bench), origin=ORIGIN)
    assert bench.row("SELECT count(*) FROM documents WHERE status = 'active'") == (3,)


class WrongClock(DatabaseClock):
    """Of a process whose machine is a day ahead or behind, until the database has told it."""

    def __init__(self, wrong: timedelta) -> None:
        super().__init__()
        self._at += wrong


@pytest.mark.parametrize("wrong", [timedelta(days=1), timedelta(days=-1)], ids=str)
async def test_the_databases_clock_decides_whatever_the_machine_says(
    database: str, bench: Bench, schedules: Schedules, wrong: timedelta
) -> None:
    await schedules.create(new(bench), origin=ORIGIN)
    late = await begun(bench)
    committer = Committer(database, EventMapper(), WrongClock(wrong))
    await committer.start()
    try:
        astray = Schedules(CommandBus(committer, bench.types), bench.types)
        assert await astray.fire(10) == 1
    finally:
        await committer.close()
    assert (await shown(bench, late)).fired == 1
    assert tasks_of(bench) == 1


async def test_a_firing_whose_commit_was_cut_off_comes_again_and_once(
    bench: Bench, schedules: Schedules
) -> None:
    """The server ends the committer's session at the moment it holds the log's lock."""
    schedule_id = await begun(bench)
    with psycopg.connect(bench.dsn, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(151363045)")
        firing = asyncio.create_task(schedules.fire(10))
        waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not (rows := other.execute(waiting).fetchall()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        other.execute("SELECT pg_terminate_backend(%s)", rows[0])
        other.execute("SELECT pg_advisory_unlock(151363045)")
        try:
            assert await firing == 1
        except AdapterError:
            assert await schedules.fire(10) == 1
    assert await schedules.fire(10) == 0
    assert (await shown(bench, schedule_id)).fired == 1
    assert (tasks_of(bench), bench.money()) == (1, (CREDITS - 3, 3, 0))


async def test_the_documents_are_as_the_log_says(bench: Bench, schedules: Schedules) -> None:
    await begun(bench)
    await begun(bench, type="forgotten")
    await schedules.fire(10)
    comparison = await compare_inline(bench.dsn, EventMapper())
    assert comparison.differences == ()


async def test_a_tick_fires_what_is_due_and_works_it_off(database: str, tmp_path: Path) -> None:
    settings = Settings(database_url=database, data_folder=tmp_path, poll_seconds=0.05)
    async with (
        opened(database, HANDLERS) as bench,
        open_service(settings, handlers=[note]) as service,
    ):
        schedule_id = await begun(bench)
        report = await tick(service, 30)
        assert (report.fired, report.completed) == (1, 1)
        assert (await shown(bench, schedule_id)).fired == 1
        assert bench.money() == (CREDITS - 3, 0, 3)
