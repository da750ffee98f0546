"""QUALITY 24: the host's clock may jump as it likes; the database's says what is early or late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import msgspec
import pytest

from adapters.queue import Heartbeat, wake_delayed
from tallystick.handler import Context, TaskFailure, handler
from tests.integration.bus import Bench, opened
from tests.integration.wrong_host import JUMPS, be_wrong


class Ask(msgspec.Struct, frozen=True):
    pass


class Reply(msgspec.Struct, frozen=True):
    pass


@handler("patient", price_credits=1, retry_seconds=300)
async def patient(ask: Ask, context: Context) -> Reply:
    raise TaskFailure("network", "Not now.")


@pytest.fixture(params=JUMPS, ids=str)
async def bench(
    request: pytest.FixtureRequest, database: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A process whose host has the wrong time from its start on."""
    be_wrong(monkeypatch, database, request.param)
    async with opened(database, [patient]) as made:
        yield made


def _now(bench: Bench) -> datetime:
    [now] = bench.row("SELECT clock_timestamp()")
    assert isinstance(now, datetime)
    return now


async def test_facts_bear_the_databases_time(bench: Bench) -> None:
    before = _now(bench)
    task_id = await bench.submit("patient")
    task = bench.task(task_id)
    assert before - timedelta(seconds=1) <= task.created_at <= _now(bench) + timedelta(seconds=1)
    assert task.deadline_at - task.created_at == timedelta(days=1)


async def test_nothing_is_rescued_expired_or_started_early(bench: Bench) -> None:
    await bench.submit("patient", not_before=_now(bench) + timedelta(hours=1))
    task_id = await bench.submit("patient")
    [task] = await bench.attempts.claim("w", ["patient"], 10)
    assert task.id == task_id, "the other one may not start yet"
    assert await _swept(bench) == (0, 0, 0)
    beat = Heartbeat(task_id=task_id, token=task.token)
    assert await bench.leases.renew([beat]) == ["held"]


async def test_what_is_late_by_the_database_is_swept(bench: Bench) -> None:
    """At once, whatever the host's clock says: lease, pause and deadline."""
    paused = await bench.submit("patient", not_before=_now(bench) + timedelta(hours=1))
    lapsed = await bench.submit("patient")
    await bench.attempts.claim("w", ["patient"], 10)
    past = "clock_timestamp() - interval '1 second'"
    bench.row(f"UPDATE tasks SET lease_until = {past} WHERE id = %s RETURNING id", lapsed)  # noqa: S608
    bench.row(f"UPDATE tasks SET delayed_until = {past} WHERE id = %s RETURNING id", paused)  # noqa: S608
    assert await _swept(bench) == (1, 0, 1)
    assert bench.task(lapsed).status == "queued"
    claimed = await bench.attempts.claim("w", ["patient"], 10)
    assert {task.id for task in claimed} == {paused, lapsed}


async def _swept(bench: Bench) -> tuple[int, int, int]:
    """Rescued, expired and woken."""
    return (
        await bench.bus.rescue(10),
        await bench.bus.expire(10),
        await wake_delayed(bench.pool, 10),
    )


async def test_a_pause_is_as_long_as_it_should_be(bench: Bench) -> None:
    task_id = await bench.submit("patient")
    worker = bench.worker()
    job = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while bench.task(task_id).status != "backoff":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    worker.stop()
    await job
    not_before = bench.task(task_id).not_before
    assert not_before is not None
    left = not_before - _now(bench)
    assert timedelta(seconds=130) < left <= timedelta(seconds=301), "half of it is left to chance"
    assert await wake_delayed(bench.pool, 10) == 0
