"""One tick: all the work that fits into a time budget, for those who run no worker but a cron."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import msgspec

from adapters.gates import unpark_tasks
from adapters.queue import wake_delayed
from domain.errors import TallystickError
from service.bootstrap import Service
from service.hooks import Notice

SECONDS = 50.0
SECONDS_MAX = 300.0
GRACE_PART = 0.2
"""The part of the budget that is left for tasks to finish in; then they are handed back."""
SWEEP_TASKS_MAX = 200


class TickReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a tick did: attempts started and how they ended, tasks swept, seconds taken.

    `fired` counts the schedules that had their turn, `settled` the accounts whose credits or holds
    came to their time; `accepted` tasks were pushed to endpoints that go on with them;
    `handed_back` are back in the queue because the time was up: the next tick takes them.
    """

    started: int
    accepted: int
    completed: int
    failed: int
    retrying: int
    cancelled: int
    handed_back: int
    rescued: int
    expired: int
    woken: int
    fired: int
    settled: int
    seconds: float


async def tick(service: Service, seconds: float = SECONDS) -> TickReport:
    """Sweep, work and bring the read models up, within `seconds`.

    Two at once are two workers: they share the queue and do nothing twice. Returns early when there
    is nothing left to do.
    """
    begun = time.monotonic()
    counts: Counter[str] = Counter()

    async def count(notice: Notice) -> None:
        counts[notice.moment] += 1

    swept = await _sweep(service)
    await _alert(service, seconds * GRACE_PART)
    worker = service.worker(hooks=[count], grace_seconds=seconds * GRACE_PART)
    working = asyncio.create_task(worker.run(until_idle=True))
    try:
        left = seconds * (1 - GRACE_PART) - (time.monotonic() - begun)
        await asyncio.wait([working], timeout=left)
    finally:
        worker.stop()
    await working
    await _project(service, begun + seconds - time.monotonic())
    ends = ("accepted", "completed", "failed", "retrying", "cancelled", "stalled")
    ended = sum(counts[moment] for moment in ends)
    return TickReport(
        started=counts["active"],
        accepted=counts["accepted"],
        completed=counts["completed"],
        failed=counts["failed"],
        retrying=counts["retrying"],
        cancelled=counts["cancelled"],
        handed_back=max(0, counts["active"] - ended),
        **swept,
        seconds=round(time.monotonic() - begun, 3),
    )


async def _sweep(service: Service) -> dict[str, int]:
    return {
        "rescued": await service.bus.rescue(SWEEP_TASKS_MAX),
        "expired": await service.bus.expire(SWEEP_TASKS_MAX),
        "woken": await wake_delayed(service.pool, SWEEP_TASKS_MAX)
        + await unpark_tasks(service.pool, SWEEP_TASKS_MAX),
        "fired": await service.schedules.fire(SWEEP_TASKS_MAX),
        "settled": await service.ledgers.settle_due(SWEEP_TASKS_MAX),
    }


async def _alert(service: Service, seconds: float) -> None:
    """Tell when too many tasks wait, as far as the time allows; what was not told is due later."""
    with contextlib.suppress(TimeoutError, TallystickError):
        async with asyncio.timeout(seconds):
            await service.alerts.sweep()


async def _project(service: Service, seconds: float) -> None:
    """Bring the read models behind the log up, as far as the time allows."""
    with contextlib.suppress(TimeoutError, TallystickError):
        async with asyncio.timeout(max(0.0, seconds)):
            for projector in service.projectors():
                async with projector:
                    while await projector.run_once():
                        pass
