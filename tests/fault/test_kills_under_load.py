"""QUALITY 5: whatever dies under load, nothing accepted is lost, and nobody is charged twice.

Real processes on a server of their own; users that never pause; one sort of process after the
other is killed or stopped and started again, each time while it is at work.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest

from adapters.embedded import EmbeddedPostgres
from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from domain.ledger_events import CreditsCaptured
from domain.task_events import (
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskFailed,
    TaskRetried,
    TaskSubmitted,
)
from service.bootstrap import open_service
from service.command import Origin
from service.identifiers import new_id
from service.settings import Settings
from tests.fault.books import Books
from tests.fault.fleet import LEASE_SECONDS, PARTS, Fleet, crash
from tests.fault.load import PRICES, Load
from tests.integration.read_models import content, drain, expected

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

KILLS = 10
NIGHTLY_KILLS = {"worker": 1_000, "api": 500}
NIGHTLY_KILLS_OF_OTHERS = 200
CREDITS = 10**9
SETUP = Origin(actor="setup")
ANSWERS_BETWEEN_MAX = 20
SETTLED_SECONDS_MAX = 60.0
ENDS = (TaskCompleted, TaskFailed, TaskCancelled)
ENDED = "SELECT count(*) FROM tasks WHERE status IN ('completed', 'failed', 'cancelled')"
LIVE = "SELECT count(*) FROM tasks WHERE status NOT IN ('completed', 'failed', 'cancelled')"
AT_WORK = "SELECT count(*) FROM tasks WHERE worker LIKE %s AND status IN ('running', 'cancelling')"
READ = "SELECT min(position) FROM tracking"


class Scene:
    """An installation under load, and what may be done to it."""

    def __init__(self, fleet: Fleet, load: Load, server: EmbeddedPostgres, folder: Path) -> None:
        self.fleet = fleet
        self.load = load
        self._server = server
        self._folder = folder

    def count(self, query: str, *values: object) -> int:
        """One number; -1 while the server is away."""
        try:
            with psycopg.connect(self.fleet.dsn) as connection:
                row = connection.execute(query.encode(), values).fetchone()
        except psycopg.OperationalError:
            return -1
        assert row is not None
        return int(row[0] or 0)

    def beyond(self, query: str) -> Callable[[], bool]:
        """Whether a number has grown since now."""
        before = self.count(query)
        return lambda: self.count(query) > before

    def at_work(self, name: str) -> bool:
        return self.count(AT_WORK, f"%-{self.fleet.pid(name)}-%") > 0

    async def again(self, name: str, number: signal.Signals) -> None:
        status = await asyncio.to_thread(self.fleet.again, name, number)
        assert status == (-signal.SIGKILL if number is signal.SIGKILL else 0)

    async def crash(self, number: signal.Signals) -> None:
        await asyncio.to_thread(crash, self._server, self._folder, number)


Victim = Callable[[Scene, int], Awaitable[None]]
"""Ends something that is at work and starts it again; told how often it has done so before."""


def parts(*names: str, by: Sequence[signal.Signals] = (signal.SIGKILL,)) -> Victim:
    """These processes in turn, and these signals."""

    async def end(scene: Scene, turn: int) -> None:
        name, number = names[turn % len(names)], by[turn % len(by)]
        if PARTS[name] == "work":
            await scene.load.more(1, lambda: scene.at_work(name))
        elif PARTS[name] == "process":
            await scene.load.more(1, scene.beyond(READ))
        await scene.again(name, number)

    return end


def server(*by: signal.Signals) -> Victim:
    async def end(scene: Scene, turn: int) -> None:
        await scene.crash(by[turn % len(by)])

    return end


WORKERS = ("worker 1", "worker 2")
STOPPED = (signal.SIGTERM,)
VICTIMS: dict[str, Victim] = {
    "worker": parts(*WORKERS),
    "worker told to stop": parts(*WORKERS, by=STOPPED),
    "api": parts("api"),
    "api told to stop": parts("api", by=STOPPED),
    "processors": parts("processors"),
    "postgres": server(signal.SIGKILL),
    "postgres stopped at once": server(signal.SIGQUIT),
}
MOSTLY_KILLED = (*(signal.SIGKILL,) * 5, signal.SIGTERM)
"""Ten kills are in twelve turns of this."""
PROCESSES = (
    parts(*WORKERS, by=MOSTLY_KILLED),
    parts("api", by=MOSTLY_KILLED),
    parts("processors", by=MOSTLY_KILLED),
)
"""They die beside each other in one load."""


@pytest.fixture
async def scene(
    private_postgres: EmbeddedPostgres, server_folder: Path, tmp_path: Path
) -> AsyncIterator[Scene]:
    dsn = private_postgres.dsn()
    settings = Settings(database_url=dsn, data_folder=tmp_path)
    async with open_service(settings) as service:
        account_id = new_id()
        await service.bus.open_account(account_id, plan="unlimited", name=None, origin=SETUP)
        await service.bus.grant(
            account_id, amount=CREDITS, kind="paid", source_ref="1", reason="", origin=SETUP
        )
        secret = (await service.keys.create("user", name="load", account_id=account_id)).secret
    with Fleet(tmp_path, dsn) as fleet:
        yield Scene(fleet, Load(fleet.url, secret), private_postgres, server_folder)


def _nightly(victim: str) -> object:
    kills = NIGHTLY_KILLS.get(victim, NIGHTLY_KILLS_OF_OTHERS)
    marks = [pytest.mark.nightly, pytest.mark.timeout(kills * 30)]
    return pytest.param((VICTIMS[victim],), kills, marks=marks, id=f"{victim} {kills}")


@pytest.mark.parametrize(
    ("victims", "turns"),
    [
        pytest.param(PROCESSES, 12, id="worker, api, processors"),
        pytest.param((server(signal.SIGKILL, signal.SIGQUIT),), 2 * KILLS, id="postgres"),
        *map(_nightly, VICTIMS),
    ],
)
async def test_nothing_is_lost_and_nobody_is_charged_twice(
    scene: Scene,
    victims: tuple[Victim, ...],
    turns: int,
    record_property: Callable[[str, object], None],
) -> None:
    load, fleet = scene.load, scene.fleet
    async with load.running(), asyncio.TaskGroup() as group:
        for victim in victims:
            group.create_task(_kill_again_and_again(scene, victim, turns))
    fleet.assert_all_live()
    stopped = time.monotonic()
    await _settled(scene)
    record_property("settled_leases", round((time.monotonic() - stopped) / LEASE_SECONDS, 1))
    record_property("tasks", len(load.submitted))
    record_property("requests_sent_again", load.lost)
    for name in PARTS:
        assert fleet.end(name, signal.SIGTERM) == 0
    books = Books(fleet.dsn).verify()
    assert_told_the_truth(books, load)
    assert_ended_and_paid_once(books)
    assert (await compare_inline(fleet.dsn, EventMapper())).differences == ()
    await drain(fleet.dsn)
    assert content(fleet.dsn) == expected(books.events, books.positions)


async def _kill_again_and_again(scene: Scene, victim: Victim, turns: int) -> None:
    """Each time at a random moment; after the last, tasks end as before."""
    await scene.load.more(1, lambda: scene.count(ENDED) > 0)
    for turn in range(turns):
        await scene.load.more(random.randint(1, ANSWERS_BETWEEN_MAX))  # noqa: S311
        ended = scene.beyond(ENDED)
        await victim(scene, turn)
    await scene.load.more(1, ended)


async def _settled(scene: Scene) -> None:
    """No task is left that has not ended."""
    async with asyncio.timeout(SETTLED_SECONDS_MAX):
        while await asyncio.to_thread(scene.count, LIVE):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def assert_told_the_truth(books: Books, load: Load) -> None:
    """I10, I8: what was answered is in the log, once, and nothing that was not asked for."""
    sent = {
        msgspec.json.decode(event.input)["n"]: event.originator_id
        for event in books.events
        if isinstance(event, TaskSubmitted)
    }
    assert sent == load.submitted
    assert len(books.tasks) == len(sent), "a request that was sent again made another task"
    retried = Counter(e.originator_id for e in books.events if isinstance(e, TaskRetried))
    assert retried == load.retried
    told = (TaskCancelRequested, TaskCancelled)
    cancelled = {e.originator_id for e in books.events if isinstance(e, told)}
    assert cancelled == load.cancelled


def assert_ended_and_paid_once(books: Books) -> None:
    """I1, I4: each run has one end; what is captured is the price of each completed one."""
    ends = Counter(e.originator_id for e in books.events if isinstance(e, ENDS))
    assert ends == {task_id: state.run for task_id, state in books.tasks.items()}
    [account] = books.ledgers.values()
    completed = [s for s in books.tasks.values() if s.status == "completed"]
    assert account.balance.captured == sum(PRICES[state.type] for state in completed)
    captures: Counter[UUID] = Counter(
        e.hold_id for e in books.events if isinstance(e, CreditsCaptured)
    )
    assert captures == Counter(state.hold_id for state in completed)
    assert account.balance.held == 0
