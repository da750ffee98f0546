"""A failure that may pass is tried again, within bounds of number and of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from adapters.queue import wake_delayed
from domain.errors import LeaseLost
from tallystick.handler import Context, TaskFailure, handler
from tests.integration.bus import CREDITS, ORIGIN, Bench, ended, opened, working

PRICE = 5
_tried: dict[str, int] = {}


class Ask(msgspec.Struct, frozen=True):
    name: str = ""
    fails: int = 0


class Reply(msgspec.Struct, frozen=True):
    tries: int


@handler("flaky", price_credits=PRICE, retry_seconds=0.05)
async def flaky(ask: Ask, context: Context) -> Reply:
    _tried[ask.name] = _tried.get(ask.name, 0) + 1
    if _tried[ask.name] <= ask.fails:
        raise ConnectionResetError("the line is bad today")
    return Reply(_tried[ask.name])


@handler("limited", price_credits=PRICE, retry_seconds=0.01, run_seconds_max=3_600)
async def limited(ask: Ask, context: Context) -> Reply:
    raise TaskFailure("rate_limited", "Come back later.", retry_after_seconds=600)


@handler("hurried", price_credits=PRICE, run_seconds_max=1)
async def hurried(ask: Ask, context: Context) -> Reply:
    await asyncio.Event().wait()
    return Reply(0)


@handler("expiring", price_credits=PRICE, queue_seconds_max=1)
async def expiring(ask: Ask, context: Context) -> Reply:
    return Reply(0)


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, [flaky, limited, hurried, expiring]) as made:
        yield made


async def _watched(bench: Bench, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await bench.bus.expire(10)
        await wake_delayed(bench.pool, 10)
        await asyncio.sleep(0.02)


@pytest.fixture
async def watch(bench: Bench) -> AsyncIterator[None]:
    """The sweeps of the `process` command."""
    stop = asyncio.Event()
    job = asyncio.create_task(_watched(bench, stop))
    yield
    stop.set()
    await job


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize("fails", [1, 2])
async def test_a_passing_failure_is_tried_again_under_the_same_hold(
    bench: Bench, fails: int
) -> None:
    task_id = await bench.submit("flaky", {"name": f"again {fails}", "fails": fails})
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert (task.status, task.attempt, task.failure) == ("completed", fails + 1, None)
    assert bench.topics(task_id).count("task.attempt_failed") == fails
    assert bench.money() == (CREDITS - PRICE, 0, PRICE)
    assert bench.topics(bench.account_id).count("credits.held") == 1


@pytest.mark.usefixtures("watch")
async def test_the_last_attempt_ends_the_run_and_gives_back(bench: Bench) -> None:
    task_id = await bench.submit("flaky", {"name": "never", "fails": 99})
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert (task.status, task.attempt, task.failures) == ("failed", 3, 2)
    assert task.failure is not None
    assert task.failure.type == "network"
    assert bench.money() == (CREDITS, 0, 0)


async def test_the_providers_pause_is_obeyed_and_shown(bench: Bench) -> None:
    task_id = await bench.submit("limited")
    async with working(bench.worker()), asyncio.timeout(20):
        while bench.task(task_id).status != "backoff":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    task = bench.task(task_id)
    assert task.not_before is not None
    assert task.not_before - task.updated_at == timedelta(seconds=600)
    assert task.failure is not None
    assert task.failure.message == "Come back later."
    assert bench.money() == (CREDITS - PRICE, PRICE, 0)
    assert await bench.attempts.claim("eager", ["limited"], 1) == []


async def test_a_task_in_backoff_is_cancelled_at_once(bench: Bench) -> None:
    task_id = await bench.submit("limited")
    async with working(bench.worker()), asyncio.timeout(20):
        while bench.task(task_id).status != "backoff":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await bench.bus.cancel(task_id, bench.account_id, reason="", origin=ORIGIN)
    assert bench.task(task_id).status == "cancelled"
    assert bench.money() == (CREDITS, 0, 0)


@pytest.mark.usefixtures("watch")
async def test_a_run_past_its_deadline_fails_whatever_its_worker_does(bench: Bench) -> None:
    task_id = await bench.submit("hurried")
    [claimed] = await bench.attempts.claim("deaf", ["hurried"], 1)
    task = await ended(bench, task_id)
    assert task.failure is not None
    assert (task.status, task.failure.type) == ("failed", "timeout")
    assert bench.money() == (CREDITS, 0, 0)
    with pytest.raises(Exception, match="failed") as refusal:
        await bench.attempts.complete(
            task_id,
            bench.account_id,
            token=claimed.token,
            result=msgspec.Raw(b"{}"),
            worker="deaf",
        )
    assert not isinstance(refusal.value, LeaseLost)
    assert bench.money() == (CREDITS, 0, 0)


@pytest.mark.usefixtures("watch")
async def test_a_task_that_nobody_starts_in_time_fails_and_is_refunded(bench: Bench) -> None:
    task_id = await bench.submit("expiring")
    task = await ended(bench, task_id)
    assert task.failure is not None
    assert (task.failure.type, task.attempt) == ("timeout", 0)
    assert bench.money() == (CREDITS, 0, 0)


async def test_nothing_expires_before_its_deadline(bench: Bench) -> None:
    await bench.submit("flaky")
    assert await bench.bus.expire(10) == 0
