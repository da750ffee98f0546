"""Task types for a load under which processes die: quick, slow, failing, hanging, blocking."""

from __future__ import annotations

import asyncio
import threading

import msgspec

from tallystick import Context, TaskFailure, handler

SLOW_SECONDS = 0.3
BLOCKED_SECONDS = 1.5
"""Longer than the lease in these tests: heartbeats stand still meanwhile."""


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """`n` is the load's own number, by which a task sent twice would show."""

    n: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    n: int
    attempt: int


@handler("quick", price_credits=1)
async def quick(task: Numbered, context: Context) -> Outcome:
    """End at once."""
    return Outcome(n=task.n, attempt=context.attempt)


@handler("slow", price_credits=2, stages={"half": 50}, retry_seconds=0.1)
async def slow(task: Numbered, context: Context) -> Outcome:
    """Take a moment, with a fact and a word in its middle."""
    await asyncio.sleep(SLOW_SECONDS / 2)
    await context.stage("half")
    await context.progress(60, "almost there")
    await asyncio.sleep(SLOW_SECONDS / 2)
    return Outcome(n=task.n, attempt=context.attempt)


@handler("flaky", price_credits=3, retry_seconds=0.1)
async def flaky(task: Numbered, context: Context) -> Outcome:
    """Fail the first time, in a way that may pass."""
    if context.attempt == 1:
        raise TaskFailure("network", "The line is bad today.")
    return Outcome(n=task.n, attempt=context.attempt)


@handler("failing", price_credits=5)
async def failing(_task: Numbered, _context: Context) -> Outcome:
    """Fail for good."""
    raise TaskFailure("param_error", "This never works.")


@handler("hanging", price_credits=7, attempts_max=2, retry_seconds=0.1, run_seconds_max=2)
async def hanging(_task: Numbered, _context: Context) -> Outcome:
    """Never end by itself: the deadline ends it."""
    await asyncio.Event().wait()
    raise AssertionError


@handler("blocking", price_credits=11)
async def blocking(task: Numbered, context: Context) -> Outcome:
    """Hold up the whole worker beyond its leases, the first time."""
    if context.attempt == 1:
        threading.Event().wait(BLOCKED_SECONDS)
    return Outcome(n=task.n, attempt=context.attempt)


HANDLERS = [quick, slow, flaky, failing, hanging, blocking]
