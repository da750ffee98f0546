"""Handlers that block run beside each other, and one that hangs is in nobody's way."""

from __future__ import annotations

import asyncio
import threading

import msgspec

from service.handler_threads import handler_threads
from tallystick.handler import Context, handler
from tests.integration.bus import opened

TASKS = 40
"""More than asyncio has threads of its own, on any machine."""
SECONDS_MAX = 60


class Nothing(msgspec.Struct, frozen=True):
    """Neither asked nor answered."""


class Rendezvous:
    """Where all tasks meet that do not hang; those that do wait until it is over."""

    meeting = threading.Barrier(TASKS, timeout=SECONDS_MAX)
    over = threading.Event()


@handler("meets", price_credits=1, attempt_seconds_max=SECONDS_MAX)
def meets(nothing: Nothing, context: Context) -> Nothing:
    Rendezvous.meeting.wait()
    return nothing


@handler("hangs", price_credits=1, attempt_seconds_max=1, attempts_max=1)
def hangs(nothing: Nothing, context: Context) -> Nothing:
    Rendezvous.over.wait(SECONDS_MAX)
    return nothing


async def test_as_many_block_at_once_as_the_worker_may_run_whatever_hangs(database: str) -> None:
    async with opened(database, [meets, hangs]) as bench:
        worker = bench.worker(tasks_max=TASKS)
        hung = [await bench.submit("hangs") for _ in range(TASKS)]
        await worker.run(until_idle=True)
        assert {bench.task(one).status for one in hung} == {"failed"}
        assert len(handler_threads()) >= TASKS
        meeting = [await bench.submit("meets") for _ in range(TASKS)]
        await bench.worker(tasks_max=TASKS).run(until_idle=True)
        assert {bench.task(one).status for one in meeting} == {"completed"}
    Rendezvous.over.set()
    async with asyncio.timeout(SECONDS_MAX):
        while handler_threads():  # noqa: ASYNC110 - threads tell nobody that they end
            await asyncio.sleep(0.01)
