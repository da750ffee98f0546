"""Runs handlers that block, each in a thread of its own: one that hangs takes no other's place."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")
NAME = "tallystick handler"
THREADS_MAX = 12_000
"""Of one process: as many as a worker may run tasks at most, and those that were given up."""


async def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns, or raises. Who is cancelled meanwhile leaves the thread to itself.

    Raises `RuntimeError` where THREADS_MAX run, or the system gives no more.
    """
    if len(handler_threads()) >= THREADS_MAX:
        raise RuntimeError(f"{THREADS_MAX} threads of handlers run, most of which must hang")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    call = partial(contextvars.copy_context().run, function)
    run = partial(_run, call, done, loop)
    threading.Thread(target=run, name=NAME, daemon=True).start()
    return await done


def handler_threads() -> list[threading.Thread]:
    """Those that run, also the given up."""
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def await_handler_threads(seconds: float) -> None:
    """Block until all have ended, at most so long."""
    until = time.monotonic() + seconds
    for thread in handler_threads():
        thread.join(max(0.0, until - time.monotonic()))


def _run(
    function: Callable[[], T], done: asyncio.Future[T], loop: asyncio.AbstractEventLoop
) -> None:
    settle: Callable[[], None]
    try:
        settle = partial(done.set_result, function())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told
        settle = partial(done.set_exception, error)
    with suppress(RuntimeError):  # The loop is closed: nobody waits.
        loop.call_soon_threadsafe(lambda: None if done.done() else settle())
