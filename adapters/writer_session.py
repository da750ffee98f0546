"""The committer's one connection, and what to do when it is lost with a commit under way."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection

from adapters.clock import DatabaseClock
from adapters.decision import Cursor
from domain.errors import Unavailable

CONNECT_SECONDS_MAX = 5
IDLE_IN_TRANSACTION_SECONDS_MAX = 10
"""A writer that stops while it holds the log's lock is disconnected by the server after this long."""
CLOCK_READING_SECONDS = 30.0
LOST = (psycopg.OperationalError, psycopg.InterfaceError, OSError, Unavailable)
"""Errors after which the connection is given up; `TimeoutError` is an `OSError`."""


class Backend(NamedTuple):
    """The server process behind a connection, named so that it cannot be mistaken for a later one."""

    pid: int
    started_at: datetime


class WriterSession:
    """Connects on demand, follows the database's clock, and can end the server side of a lost connection."""

    def __init__(self, dsn: str, clock: DatabaseClock) -> None:
        self._dsn = dsn
        self._clock = clock
        self._connection: AsyncConnection[tuple[Any, ...]] | None = None
        self._backend: Backend | None = None
        self._clock_read = 0.0

    @property
    def connection(self) -> AsyncConnection[tuple[Any, ...]]:
        assert self._connection is not None, "ready() comes first"
        return self._connection

    @property
    def backend(self) -> Backend | None:
        """The server process of the present connection; None when there is none."""
        return self._backend

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def cursor(self) -> Cursor:
        return self.connection.cursor(binary=True)

    async def ready(self) -> bool:
        """Have a working connection; True when it is a new one. Raises `Unavailable`."""
        if self.connected:
            if time.monotonic() - self._clock_read > CLOCK_READING_SECONDS:
                await self._identify(self.connection)
            return False
        try:
            connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                application_name="tallystick committer",
                connect_timeout=CONNECT_SECONDS_MAX,
                options=(
                    f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS_MAX}s"
                    " -c plan_cache_mode=force_generic_plan"
                ),
            )
            await self._identify(connection)
        except (psycopg.Error, OSError) as error:
            raise Unavailable(f"The database cannot be reached: {error}") from error
        self._connection = connection
        return True

    async def _identify(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        cursor = connection.cursor(binary=True)
        asked = time.monotonic()
        await cursor.execute(
            "SELECT pid, backend_start, clock_timestamp() FROM pg_stat_activity"
            " WHERE pid = pg_backend_pid()"
        )
        row = await cursor.fetchone()
        assert row is not None
        self._clock.follow(row[2], asked, time.monotonic())
        self._clock_read = time.monotonic()
        self._backend = Backend(row[0], row[1])

    async def end(self, backend: Backend) -> None:
        """Return only when that server process is gone, so that it cannot commit any more."""
        cursor = self.cursor()
        while True:
            await cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = %s AND backend_start = %s",
                backend,
            )
            if not await cursor.fetchall():
                return
            await asyncio.sleep(0.01)

    def abandon(self) -> None:
        """Drop the connection at once, without a word to the server."""
        if self._connection is not None:
            self._connection.pgconn.finish()
        self._connection = None
        self._backend = None

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = None
