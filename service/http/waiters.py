"""Requests that wait for tasks or groups to end share one look at the database."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import structlog
from litestar.types import Receive

from adapters.pool import Pool, fetch
from adapters.sql import statement
from adapters.wakeup import Watch
from domain.errors import Unavailable

WAITERS_MAX = 10_000
"""Requests that wait at one time in a process; more are answered at once."""
LOOK_PAUSE_SECONDS = 0.01
"""Between two looks, however many commits there are."""
_log = structlog.get_logger(__name__)


class Waiters:
    """`wait` for a task or a group while `run` looks. After `stop`, nobody waits any more."""

    def __init__(self, pool: Pool, watch: Watch, *, poll_seconds: float) -> None:
        self._pool = pool
        self._watch = watch
        self._poll_seconds = poll_seconds
        self._waiting: dict[UUID, set[asyncio.Future[None]]] = {}
        self._count = 0
        self._stopped = False

    @property
    def count(self) -> int:
        """Requests that wait at the moment."""
        return self._count

    async def wait(self, task_id: UUID, seconds: float, receive: Receive) -> None:
        """Return when it has ended, the client has gone, `seconds` are over, or at the stop.

        `receive` is the request's, its body read to the end.
        """
        if self._stopped or self._count >= WAITERS_MAX:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone = asyncio.ensure_future(hung_up(receive))
        self._waiting.setdefault(task_id, set()).add(future)
        self._count += 1
        self._watch.wake(None)
        try:
            await asyncio.wait((future, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._leave(task_id, future)
            gone.cancel()

    def _leave(self, task_id: UUID, future: asyncio.Future[None]) -> None:
        self._count -= 1
        others = self._waiting.get(task_id)
        if others is not None:
            others.discard(future)
            if not others:
                del self._waiting[task_id]

    async def run(self) -> None:
        """For ever: look when a commit is heard of, somebody new waits, or time has passed."""
        while True:
            await self._watch.wait(self._poll_seconds)
            if self._waiting:
                await self._look()
                await asyncio.sleep(LOOK_PAUSE_SECONDS)

    async def _look(self) -> None:
        try:
            rows = await fetch(self._pool, statement("select_ended"), {"ids": list(self._waiting)})
        except Unavailable as error:
            _log.warning("waiters.unavailable", error=str(error))
            return
        for (task_id,) in rows:
            self._wake(self._waiting.get(task_id, set()))

    def stop(self) -> None:
        """Let everybody go: the process is to end."""
        self._stopped = True
        for futures in self._waiting.values():
            self._wake(futures)

    def _wake(self, futures: set[asyncio.Future[None]]) -> None:
        for future in futures:
            if not future.done():
                future.set_result(None)


async def hung_up(receive: Receive) -> None:
    """Return when the client has gone."""
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            return
