"""One tick: all the work that fits into a time budget, for those who run no worker but a cron."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import msgspec

from adapters.idempotency_keys import delete_expired_keys
from domain.errors import TallystickError
from service.bootstrap import Service
from service.hooks import Notice
from service.sweeps import PURGE_KEYS_MAX, sweeps_of

SECONDS = 50.0
SECONDS_MAX = 300.0
GRACE_PART = 0.2
"""The part of the budget that is left for tasks to finish in; then they are handed back."""
SWEEP_PART = 0.5
"""The part of the budget after which no sweep is made again, though more was due."""
DRAIN_PART = 0.5
"""The part of the grace time at a stop that is left to tasks; the answer needs some of it too."""


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


async def tick(
    service: Service, seconds: float = SECONDS, stop: asyncio.Event | None = None
) -> TickReport:
    """Sweep, work and bring the read models up, within `seconds`.

    Two at once are two workers: they share the queue and do nothing twice. Returns early when there
    is nothing left to do; and soon after `stop`, with what it held handed back.
    """
    begun = time.monotonic()
    counts: Counter[str] = Counter()

    async def count(notice: Notice) -> None:
        counts[notice.moment] += 1

    swept = await _sweep(service, begun + seconds * SWEEP_PART)
    await _alert(service, seconds * GRACE_PART)
    grace = min(seconds * GRACE_PART, service.settings.drain_seconds_max * DRAIN_PART)
    worker = service.worker(hooks=[count], grace_seconds=grace)
    working = asyncio.create_task(worker.run(until_idle=True))
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        left = seconds * (1 - GRACE_PART) - (time.monotonic() - begun)
        await asyncio.wait([working, stopping], timeout=left, return_when=asyncio.FIRST_COMPLETED)
    finally:
        worker.stop()
        stopping.cancel()
    await working
    if not (stop and stop.is_set()):
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


async def _sweep(service: Service, until: float) -> dict[str, int]:
    """Take what is due, again where a sweep took as much as it may; how many by what is told."""
    counts: Counter[str] = Counter()
    left = list(sweeps_of(service))
    while left:
        swept = [(sweep, await sweep()) for sweep in left]
        counts.update({sweep.name: taken.count for sweep, taken in swept})
        in_time = time.monotonic() < until
        left = [sweep for sweep, taken in swept if taken.more and in_time]
    days = service.settings.idempotency_days
    await delete_expired_keys(service.pool, days=days, limit=PURGE_KEYS_MAX)
    return {
        "rescued": counts["rescue"],
        "expired": counts["expire"],
        "woken": counts["wake"] + counts["unpark"],
        "fired": counts["fire"],
        "settled": counts["settle"],
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
