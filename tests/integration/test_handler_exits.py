"""What a handler's own asyncio tasks raise to end the process ends their attempt alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import uvloop

from tallystick.handler import Context, Handler, handler
from tests.integration.bus import Bench, opened

PRICE = 7
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Which(msgspec.Struct, frozen=True):
    way: str = ""


class Done(msgspec.Struct, frozen=True):
    way: str


async def _leave() -> None:
    sys.exit(3)


async def _interrupt() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


async def _when_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        sys.exit(3)


async def _in_a_task() -> None:
    await asyncio.create_task(_leave())


async def _interrupted() -> None:
    await asyncio.gather(_interrupt(), asyncio.sleep(0))


async def _in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_leave())
        group.create_task(asyncio.Event().wait())


async def _in_a_task_of_a_task() -> None:
    await asyncio.create_task(_in_a_task())


async def _at_its_time_limit() -> None:
    await asyncio.wait_for(_when_cancelled(), 0.01)


async def _not_looked_at() -> None:
    left = asyncio.create_task(_leave())
    await asyncio.wait([left])
    assert isinstance(left.exception(), RuntimeError)


async def _cancelled_before_it_began() -> None:
    asyncio.create_task(_leave()).cancel()
    await asyncio.sleep(0)


FAILING: dict[str, Callable[[], Awaitable[None]]] = {
    "in a task": _in_a_task,
    "interrupted": _interrupted,
    "in a group": _in_a_group,
    "in a task of a task": _in_a_task_of_a_task,
    "at its time limit": _at_its_time_limit,
}
HARMLESS: dict[str, Callable[[], Awaitable[None]]] = {
    "not looked at": _not_looked_at,
    "cancelled before it began": _cancelled_before_it_began,
}


@handler("leaves", price_credits=PRICE, attempts_max=1)
async def leaves(which: Which, context: Context) -> Done:
    await (FAILING | HARMLESS)[which.way]()
    return Done(which.way)


@handler("stays", price_credits=PRICE)
async def stays(which: Which, context: Context) -> Done:
    await asyncio.sleep(0.05)
    return Done("stayed")


HANDLERS: list[Handler] = [leaves, stays]


@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_handlers_task_that_would_end_the_process_fails_its_attempt_alone(
    database: str, loops: LoopFactory
) -> None:
    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(_all_ways(database))


async def _all_ways(database: str) -> None:
    async with opened(database, HANDLERS) as bench:
        left = {way: await bench.submit("leaves", {"way": way}) for way in FAILING | HARMLESS}
        innocent = await bench.submit("stays")
        await bench.worker().run(until_idle=True)
        for way in FAILING:
            task = bench.task(left[way])
            assert (way, task.status, task.token, task.credits_held) == (way, "failed", 1, 0)
            assert task.failure is not None
            assert "the handler raised" in (task.failure.detail or "")
        for way in HARMLESS:
            _assert_completed(bench, left[way], {"way": way})
        _assert_completed(bench, innocent, {"way": "stayed"})


def _assert_completed(bench: Bench, task_id: Any, result: object) -> None:
    task = bench.task(task_id)
    assert (task.status, task.attempt, bench.result(task_id)) == ("completed", 1, result)
