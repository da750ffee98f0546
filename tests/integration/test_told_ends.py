"""A worker tells one end of every attempt, also of one whose run ended without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import msgspec
import pytest

from domain.errors import (
    CommandRejected,
    IllegalTransition,
    LeaseLost,
    Overloaded,
    ShuttingDown,
    TallystickError,
    Unavailable,
)
from service.hooks import Notice
from tallystick.handler import Context, Handler, TaskCancelled, handler
from tests.integration.bus import CREDITS, Bench, ended, opened, working

PRICE = 5
FOR_EVER = {"heartbeat_seconds": 3_600.0, "progress_seconds": 3_600.0}
"""A worker that hears nothing until its attempt ends."""
LAPSE = (
    "WITH lapsed AS (UPDATE tasks SET lease_until = '-infinity' WHERE id = %s RETURNING id)"
    " SELECT count(*) FROM lapsed"
)
Raised = Callable[[UUID], TallystickError]
OURS: list[Raised] = [
    LeaseLost,
    lambda _: LeaseLost(uuid4()),
    lambda _: IllegalTransition("task", "reach_stage", "failed", ()),
    lambda _: Unavailable("the handler's own database is away"),
    lambda _: Overloaded("the handler's own queue", 3),
    lambda _: ShuttingDown("not the worker"),
    lambda _: CommandRejected("not the end of this task"),
]


class Nothing(msgspec.Struct, frozen=True):
    pass


class Ears:
    """What hooks are told, the first word of it aside."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    async def hear(self, notice: Notice) -> None:
        self.notices.append(notice)

    @property
    def ends(self) -> list[str]:
        return [notice.moment for notice in self.notices if notice.moment != "active"]


class Gate:
    """A handler that works until it is let on, and then ends in the way of the test."""

    def __init__(self, last: str) -> None:
        self.last = last
        self.begun, self.open = asyncio.Event(), asyncio.Event()
        self.stopped = False

    def type(self) -> Handler:
        @handler("gate", price_credits=PRICE, run_seconds_max=1, stages={"half": 50})
        async def gate(_: Nothing, context: Context) -> Nothing:
            self.begun.set()
            try:
                await self.open.wait()
                if self.last == "stage":
                    await context.stage("half")
            except (asyncio.CancelledError, TaskCancelled):
                self.stopped = True
                raise
            if self.last == "raise":
                raise ValueError("too late")
            return Nothing()

        return gate


@pytest.mark.parametrize("raised", OURS)
async def test_an_error_of_ours_that_a_handler_raises_fails_its_attempt_at_once(
    database: str, raised: Raised
) -> None:
    """C1: only what was said of this very attempt's stage means that its lease is gone."""

    @handler("confused", price_credits=PRICE, attempts_max=1)
    async def confused(_: Nothing, context: Context) -> Nothing:
        raise raised(context.task_id)

    ears = Ears()
    async with opened(database, [confused], lease_seconds=3_600) as bench:
        task_id = await bench.submit("confused")
        async with working(bench.worker(ears.hear)):
            task = await ended(bench, task_id)
        assert (task.status, task.attempt) == ("failed", 1)
        assert bench.topics(task_id).count("task.failed") == 1
        assert bench.money() == (CREDITS, 0, 0)
    assert ears.ends == ["failed"]


@pytest.mark.parametrize("last", ["return", "raise", "stage"])
async def test_a_run_that_expires_while_its_worker_is_deaf_is_told_once(
    database: str, last: str
) -> None:
    gate, ears = Gate(last), Ears()
    async with opened(database, [gate.type()], lease_seconds=3_600) as bench:
        task_id = await bench.submit("gate")
        async with working(bench.worker(ears.hear, **FOR_EVER)):
            await gate.begun.wait()
            await _expire(bench)
            gate.open.set()
        assert bench.task(task_id).status == "failed"
        assert bench.money() == (CREDITS, 0, 0)
    assert ears.ends == ["failed"]
    told = ears.notices[-1].task
    assert (told.status, told.failure and told.failure.type) == ("failed", "timeout")
    assert gate.stopped is (last == "stage")


async def test_a_handler_whose_task_expires_is_stopped_by_the_next_heartbeat(
    database: str,
) -> None:
    gate, ears = Gate("return"), Ears()
    async with opened(database, [gate.type()], lease_seconds=3_600) as bench:
        await bench.submit("gate")
        async with working(bench.worker(ears.hear)) as worker:
            await gate.begun.wait()
            await _expire(bench)
            async with asyncio.timeout(20):
                while worker.held:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert gate.stopped
    assert ears.ends == ["failed"]


@pytest.mark.parametrize("last", ["return", "raise", "stage"])
async def test_a_task_that_goes_on_with_another_worker_is_told_as_stalled_once(
    database: str, last: str
) -> None:
    gate, ears = Gate(last), Ears()
    async with opened(database, [gate.type()], lease_seconds=3_600) as bench:
        task_id = await bench.submit("gate")
        async with working(bench.worker(ears.hear, tasks_max=1, **FOR_EVER)):
            await gate.begun.wait()
            assert bench.row(LAPSE, task_id) == (1,)
            assert await bench.bus.rescue(10) == 1
            [heir] = await bench.attempts.claim("heir", ["gate"], 1)
            gate.open.set()
        assert (bench.task(task_id).status, bench.task(task_id).token) == ("running", heir.token)
        assert bench.money() == (CREDITS - PRICE, PRICE, 0)
    assert ears.ends == ["stalled"]
    assert ears.notices[-1].task.token == heir.token - 1


async def test_two_rescues_at_once_tell_together_what_was_rescued(database: str) -> None:
    """In one batch, the second has found what the first has changed before it decides."""
    async with opened(database, [Gate("return").type()], lease_seconds=3_600) as bench:
        task_id = await bench.submit("gate")
        await bench.attempts.claim("worker", ["gate"], 1)
        assert bench.row(LAPSE, task_id) == (1,)
        rescued = await asyncio.gather(bench.bus.rescue(10), bench.bus.rescue(10))
        assert sorted(rescued) == [0, 1]


async def _expire(bench: Bench) -> None:
    """The deadline sweep, until the run's second is over."""
    async with asyncio.timeout(20):
        while await bench.bus.expire(10) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
