"""Task types whose pace a test sets: by files they say that they began, and are told to end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec

from tallystick import Context, TaskFailure, handler

LOOK_SECONDS = 0.02


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """Each attempt adds a line to `began`; it ends when `go` exists."""

    began: str
    go: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    attempt: int


class Empty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


@handler("wait_for_go", price_credits=3, stages={"began": 10})
async def wait_for_go(task: Signals, context: Context) -> Outcome:
    """Wait until told."""
    await context.stage("began")
    _begin(task, context)
    while not _told(task):  # noqa: ASYNC110 - the test is another process
        await asyncio.sleep(LOOK_SECONDS)
    return Outcome(attempt=context.attempt)


@handler("wait_in_thread", price_credits=3)
def wait_in_thread(task: Signals, context: Context) -> Outcome:
    """Wait until told, and hear of nothing else: an unkind handler."""
    _begin(task, context)
    while not _told(task):
        threading.Event().wait(LOOK_SECONDS)
    return Outcome(attempt=context.attempt)


def _begin(task: Signals, context: Context) -> None:
    with Path(task.began).open("a") as began:
        began.write(f"{context.attempt}\n")


def _told(task: Signals) -> bool:
    return Path(task.go).exists()


@handler("always_fails", price_credits=5)
async def always_fails(_task: Empty, _context: Context) -> Outcome:
    """Fail, with words for the user."""
    raise TaskFailure("param_error", "This never works.")


HANDLERS = [wait_for_go, wait_in_thread, always_fails]
