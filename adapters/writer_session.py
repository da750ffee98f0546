"""The committer's one connection, and what to do when it is lost with a commit under way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from adapters.clock import DatabaseClock
from adapters.decision import Cursor
from adapters.prepared_statement import PreparedStatement
from adapters.sql import statement
from domain.errors import CommandRejected, Unavailable

CONNECT_SECONDS_MAX = 5
IDLE_IN_TRANSACTION_SECONDS_MAX = 10.0
"""A writer that stops while it holds the log's lock is disconnected after this long."""
CLOCK_READING_SECONDS = 30.0
END_PAUSE_SECONDS = 0.01
HANG_UP_GRACE_SECONDS = 5.0
"""An answer that does not come is lost at once; whatever else is waited for, after this long."""
LOST = (psycopg.Error, OSError, Unavailable)
"""After these the connection is given up, unless `refusal_of` knows better."""
_SQLSTATES_OF_DATA = ("21", "22", "23", "54")
_SQLSTATES_OF_CODE = ("0A", "42", "XX")


class Backend(NamedTuple):
    """The server process behind a connection, not to be mistaken for a later one of its number."""

    pid: int
    started_at: datetime


class WriterSession:
    """Connects on demand, follows the database's clock, ends the rest of a lost connection."""

    def __init__(
        self,
        dsn: str,
        clock: DatabaseClock,
        idle_in_transaction_seconds_max: float = IDLE_IN_TRANSACTION_SECONDS_MAX,
    ) -> None:
        self._dsn = dsn
        self._clock = clock
        self._idle_milliseconds_max = int(idle_in_transaction_seconds_max * 1_000)
        self._connection: AsyncConnection[tuple[Any, ...]] | None = None
        self._backend: Backend | None = None
        self._ready = False
        self._clock_read = 0.0
        self._append_batch = PreparedStatement("append_batch", statement("append_batch"))

    @property
    def connection(self) -> AsyncConnection[tuple[Any, ...]]:
        assert self._connection is not None, "ready() comes first"
        return self._connection

    @property
    def connected(self) -> bool:
        return self._ready and not self.connection.closed

    def cursor(self) -> Cursor:
        return self.connection.cursor(binary=True)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Psycopg has the server let go of every prepared statement when one is rolled back."""
        try:
            async with self.connection.transaction():
                yield
        except BaseException:
            self._append_batch.forget()
            raise

    async def append_batch(self, values: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """Its answer's columns, in binary form; `values` are its parameters."""
        return await self._append_batch.row(self.connection, values)

    async def ready(self) -> bool:
        """Have a working connection; True when it is a new one. Raises `Unavailable`.

        With a new one, the last one's server process is gone: no lock left, no late commit.
        """
        if self.connected:
            if time.monotonic() - self._clock_read > CLOCK_READING_SECONDS:
                await self._identify(self.connection)
            return False
        self.abandon()
        try:
            self._connection = await self._connect()
            if self._backend is not None:
                await _end(self._connection, self._backend)
            self._backend = await self._identify(self._connection)
        except (psycopg.Error, OSError) as error:
            raise Unavailable(f"The database cannot be reached: {error}") from error
        self._ready = True
        return True

    @contextlib.asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Lose the connection after `seconds`, so that nobody waits for an answer any longer.

        Cancelling would wait for a deaf server's consent first. Raises what a lost connection does,
        or `TimeoutError` if something else took that long.
        """
        timer = asyncio.get_running_loop().call_later(seconds, self.hang_up)
        try:
            async with asyncio.timeout(seconds + HANG_UP_GRACE_SECONDS):
                yield
        finally:
            timer.cancel()

    def hang_up(self) -> None:
        """Shut the socket down, but leave it to those who wait on it."""
        if self._connection is not None and not self._connection.closed:
            with (
                socket.socket(fileno=os.dup(self._connection.fileno())) as line,
                contextlib.suppress(OSError),
            ):
                line.shutdown(socket.SHUT_RDWR)

    async def _connect(self) -> AsyncConnection[tuple[Any, ...]]:
        """`read committed`: under the lock, statements must see what was committed before it."""
        options = (
            f"{conninfo_to_dict(self._dsn).get('options') or ''}"
            f" -c idle_in_transaction_session_timeout={self._idle_milliseconds_max}"
            " -c default_transaction_isolation=read\\ committed"
            # A plan made while the tables are empty must stay good when they are full.
            " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
        )
        return await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            application_name="tallystick committer",
            connect_timeout=CONNECT_SECONDS_MAX,
            options=options,
        )

    async def _identify(self, connection: AsyncConnection[tuple[Any, ...]]) -> Backend:
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
        return Backend(row[0], row[1])

    def abandon(self) -> None:
        """Drop the connection at once, without a word to the server."""
        if self._connection is not None:
            self._connection.pgconn.finish()
        self._connection = None
        self._ready = False

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = None
        self._ready = False


def refusal_of(error: Exception) -> Exception | None:
    """What to tell a command whose statement the server refused; None if the session is at fault.

    A wrong statement is our fault, and said as it is. Only to be asked while the session lives.
    """
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return None
    if error.sqlstate[:2] in _SQLSTATES_OF_DATA:
        return CommandRejected(f"The database refused the data: {str(error).splitlines()[0]}")
    return error if error.sqlstate[:2] in _SQLSTATES_OF_CODE else None


async def _end(connection: AsyncConnection[tuple[Any, ...]], backend: Backend) -> None:
    """Return only when that server process is gone."""
    cursor = connection.cursor(binary=True)
    while True:
        await cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid = %s AND backend_start = %s",
            backend,
        )
        if not await cursor.fetchall():
            return
        await asyncio.sleep(END_PAUSE_SECONDS)
