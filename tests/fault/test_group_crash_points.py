"""The connection fails at each step of a group's commits: a whole command is there, once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from adapters.clock import DatabaseClock
from adapters.committer import Committer, CommitterLimits
from adapters.mapper import EventMapper
from adapters.pool import open_pool
from adapters.queue import Leases
from domain.ledger_events import CreditsCaptured
from service.attempts import Attempts
from service.command_bus import CommandBus
from service.identifiers import new_id
from service.task_types import TaskTypes
from tests.fault.books import Books
from tests.fault.postgres_proxy import Action, Fault, Moment, PostgresProxy
from tests.integration.bus import CREDITS, ORIGIN, Bench
from tests.integration.groups import PRICE, GroupBench, shot

pytestmark = pytest.mark.fault

DEAF_SECONDS = 0.3
CALLER_SECONDS_MAX = 10.0
ACTIONS: tuple[Action, ...] = ("cut", "silence", "terminate")
FREE_STEPS = ("select_tails", "append_batch")
LOCKED_STEPS = ("begin", "lock", "select_tails", "append_batch", "commit")
Command = Callable[[GroupBench, Any], Awaitable[Any]]


async def _start(groups: GroupBench, _: Any) -> None:
    await groups.start(3, parallel_max=2, key="board 7")


async def _end(groups: GroupBench, task: Any) -> None:
    await groups.deliver(task)


async def _cancel(groups: GroupBench, group: Any) -> None:
    await groups.cancel(group)


async def _retry(groups: GroupBench, group: Any) -> None:
    await groups.retry(group)


async def _nothing(_: GroupBench) -> None:
    return None


async def _started(groups: GroupBench) -> Any:
    return await groups.start(3, parallel_max=2, key="board 7")


async def _all_but_one_ended(groups: GroupBench) -> Any:
    await groups.start(3, parallel_max=3)
    *others, last = await groups.claim()
    for task in others:
        await groups.deliver(task)
    return last


async def _failed(groups: GroupBench) -> Any:
    group = await groups.start(3, parallel_max=3)
    for task in await groups.claim():
        await groups.fail(task)
    return group


CASES: dict[str, tuple[Callable[[GroupBench], Awaitable[Any]], Command, tuple[str, ...]]] = {
    "start": (_nothing, _start, FREE_STEPS),
    # All that it reads is in memory.
    "end of the last": (_all_but_one_ended, _end, ("append_batch",)),
    "cancel": (_started, _cancel, LOCKED_STEPS),
    "retry": (_failed, _retry, FREE_STEPS),
}


def _points() -> list[Any]:
    return [
        pytest.param(name, Fault(step, moment, action), id=f"{name}-{step}-{moment}-{action}")
        for name, (_, _, steps) in CASES.items()
        for step in steps
        for moment in get_args(Moment)
        for action in ACTIONS
    ]


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[PostgresProxy]:
    # Shorter than `tmp_path`: a socket's path has a limit.
    folder = Path(tempfile.mkdtemp(prefix="proxy-"))
    async with PostgresProxy(folder, database) as proxy:
        yield proxy
    shutil.rmtree(folder)


@pytest.fixture
async def groups(database: str, proxy: PostgresProxy) -> AsyncIterator[GroupBench]:
    """A bench whose commits go through the proxy; what it reads does not."""
    limits = CommitterLimits(commit_seconds_max=DEAF_SECONDS)
    committer = Committer(proxy.dsn, EventMapper(), DatabaseClock(), limits)
    await committer.start()
    types = TaskTypes([shot])
    bus = CommandBus(committer, types)
    account_id = new_id()
    await bus.open_account(account_id, plan="unlimited", name=None, origin=ORIGIN)
    await bus.grant(
        account_id, amount=CREDITS, kind="paid", source_ref="test", reason="", origin=ORIGIN
    )
    async with open_pool(database, 2) as pool:
        attempts, leases = Attempts(bus, types), Leases(pool, 30.0)
        bench = Bench(database, committer, bus, attempts, types, pool, leases, account_id)
        yield GroupBench.over(bench)
    await committer.close()


@pytest.mark.parametrize(("name", "fault"), _points())
async def test_a_command_on_a_group_happens_once_whatever_fails_at_its_commit(
    groups: GroupBench, proxy: PostgresProxy, name: str, fault: Fault
) -> None:
    prepare, command, _ = CASES[name]
    prepared = await prepare(groups)
    before = len(groups.verify().events)
    proxy.arm(fault)
    async with asyncio.timeout(CALLER_SECONDS_MAX):
        await command(groups, prepared)
    assert proxy.struck == [fault], proxy.steps
    books = groups.verify()
    led_to = books.events[before:]
    assert len({event.meta.causation_id for event in led_to}) == 1
    assert [event.TOPIC for event in led_to] == EVENTS[name]
    await groups.verify_rows()
    await _end_all(groups)
    captured = sum(e.amount for e in groups.verify().events if isinstance(e, CreditsCaptured))
    assert groups.bench.money() == (CREDITS - captured, 0, captured)
    assert captured == CHARGED[name]


EVENTS = {
    "start": ["group.started", "credits.held", "task.submitted", "task.submitted"],
    "end of the last": [
        "task.completed",
        "group.member_ended",
        "group.completed",
        "credits.captured",
    ],
    "cancel": [
        "group.cancel_requested",
        *["task.cancelled", "group.member_ended"] * 2,
        "group.cancelled",
        "credits.released",
    ],
    "retry": ["group.retried", "credits.held", *["task.submitted"] * 3],
}
CHARGED = {"start": 3 * PRICE, "end of the last": 3 * PRICE, "cancel": 0, "retry": 3 * PRICE}


async def _end_all(groups: GroupBench) -> None:
    """Whatever is left goes its way."""
    while tasks := await groups.claim():
        for task in tasks:
            await groups.deliver(task)
    assert all(group.ended for group in Books(groups.bench.dsn).verify().groups.values())
