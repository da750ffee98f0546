"""Wakes those who wait for the log; a lost channel makes them poll, and shows."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import psycopg
import structlog
from psycopg import AsyncConnection

CHANNEL = "tallystick_events"
QUEUED = "queued"
"""Payload of a commit after which some task can be claimed; other commits have the empty one."""
APPLICATION_NAME = "tallystick wakeup"
CONNECT_SECONDS_MAX = 5
CHECK_SECONDS = 30.0
"""After this long without a word, the connection is asked whether it still stands."""
CHECK_SECONDS_MAX = 5.0
RECONNECT_SECONDS_MIN = 0.1
RECONNECT_SECONDS_MAX = 3.0
_log = structlog.get_logger(__name__)


class Watch:
    """One waiter's latch: what comes while it is busy is not lost to it."""

    def __init__(self, only: str | None) -> None:
        self._only = only
        self._latch = asyncio.Event()

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 - the wait is the point
        """True when woken, also since the last call; False after `timeout` seconds.

        To be woken means to look for oneself. A cancelled wait leaves what came for the next one.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._latch.wait()
        except TimeoutError:
            return False
        self._latch.clear()
        return True

    def wake(self, payload: str | None) -> None:
        """Pass on a commit's payload, or None for what everyone must hear."""
        if payload is None or self._only is None or payload == self._only:
            self._latch.set()


class Wakeup:
    """One LISTEN connection for all waiters of a process; it is made anew for as long as it takes.

    `dsn` must lead to PostgreSQL itself: a transaction pooler passes no notifications on. When the
    channel falls, and when it stands again, all are woken, since something may have been missed.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._watches: WeakSet[Watch] = WeakSet()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.listening = False
        self.losses = 0

    def watch(self, only: str | None = None) -> Watch:
        """A new waiter, woken by every commit, or with `only=QUEUED` by those that queue tasks."""
        watch = Watch(only)
        self._watches.add(watch)
        return watch

    async def start(self) -> None:
        """Begin to listen; returns after the first try, whatever came of it."""
        self._task = asyncio.create_task(self._run(), name="wakeup")
        await self._tried.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self) -> None:
        pause = RECONNECT_SECONDS_MIN
        while True:
            try:
                async with await self._connect() as connection:
                    pause = RECONNECT_SECONDS_MIN
                    self._stand()
                    await self._pass_on(connection)
            except (psycopg.Error, OSError) as error:
                _log.warning("wakeup.lost", error=str(error), retry_seconds=pause)
            finally:
                self._fall()
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECONNECT_SECONDS_MAX)

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            application_name=APPLICATION_NAME,
            connect_timeout=CONNECT_SECONDS_MAX,
        )
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _pass_on(self, connection: AsyncConnection[Any]) -> None:
        while True:
            async with contextlib.aclosing(connection.notifies(timeout=CHECK_SECONDS)) as notifies:
                async for notify in notifies:
                    self._wake(notify.payload)
            async with asyncio.timeout(CHECK_SECONDS_MAX):
                await connection.execute("SELECT 1")

    def _stand(self) -> None:
        self.listening = True
        self._tried.set()
        self._wake(None)

    def _fall(self) -> None:
        self._tried.set()
        if self.listening:
            self.listening = False
            self.losses += 1
            self._wake(None)

    def _wake(self, payload: str | None) -> None:
        for watch in self._watches:
            watch.wake(payload)
