"""C3: a failure that cannot be recorded is recorded later, and takes nothing else down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from domain.errors import Unavailable
from domain.task import FailTask
from service import worker as worker_module
from tallystick.handler import Handler
from tests.integration.bus import CREDITS, Bench, ended, opened, working
from tests.integration.test_worker import PRICE, echo, raising

HANDLERS: list[Handler] = [echo, raising]


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, HANDLERS, lease_seconds=0.5) as made:
        yield made


def troubled(bench: Bench, patch: pytest.MonkeyPatch, errors: list[Exception]) -> list[str]:
    """The recording of failures raises these first; what was tried, in order."""
    proceed, tried = bench.attempts.proceed, []

    async def trying(task_id: Any, account_id: Any, command: Any, **more: Any) -> Any:
        tried.append(type(command).__name__)
        if isinstance(command, FailTask) and errors:
            raise errors.pop(0)
        return await proceed(task_id, account_id, command, **more)

    patch.setattr(bench.attempts, "proceed", trying)
    patch.setattr(worker_module, "RECORD_PAUSE_SECONDS", 0.01)
    return tried


async def test_a_failure_is_recorded_as_soon_as_it_can_be(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = troubled(bench, monkeypatch, [Unavailable("The database is away.")] * 3)
    failing = await bench.submit("raising")
    others = [await bench.submit("echo", {"word": "x"}) for _ in range(5)]
    async with working(bench.worker()):
        tasks = await asyncio.gather(*(ended(bench, task_id) for task_id in (failing, *others)))
    assert [task.status for task in tasks] == ["failed", *["completed"] * 5]
    assert [task.token for task in tasks] == [1] * 6
    assert tried.count("FailTask") == 4
    assert bench.topics(failing).count("task.failed") == 1
    assert bench.money() == (CREDITS - 5 * PRICE, 0, 5 * PRICE)


async def test_the_lease_is_the_net_below_a_recording_that_breaks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that no retry is for: the worker goes on, and the task is rescued and tried anew."""
    troubled(bench, monkeypatch, [RuntimeError("a bug of ours")])
    failing = await bench.submit("raising")
    other = await bench.submit("echo", {"word": "x"})
    with capture_logs() as logs:
        await bench.worker().run(until_idle=True)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["attempt.broken"]
    async with working(bench.worker()), asyncio.timeout(20):
        assert (await ended(bench, other)).status == "completed"
        while await bench.bus.rescue(10) == 0:  # noqa: ASYNC110 - until its lease has lapsed
            await asyncio.sleep(0.02)
        task = await ended(bench, failing)
    assert (task.status, task.stalls, task.token) == ("failed", 1, 2)
    assert bench.topics(failing).count("task.failed") == 1
    assert bench.money() == (CREDITS - PRICE, 0, PRICE)
