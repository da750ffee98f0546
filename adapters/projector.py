"""Keeps one read model up behind the log: one process leads, the others stand by.

The leader holds an advisory lock on its own session, so the server ends its lead with its process,
and also that of a process which fell silent (stopped, or its host gone): the session is ended after
`silence_seconds_max`.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import msgspec
import psycopg
import structlog
from psycopg.pq import TransactionStatus

from adapters.mapper import EventMapper
from adapters.read_model import BATCH_EVENTS_MAX, Connection, ReadModel
from adapters.read_tables import ReadTable
from adapters.wakeup import Wakeup
from domain.errors import AdapterError, ShuttingDown, Unavailable

CONNECT_SECONDS_MAX = 5
UNLOCK_SECONDS_MAX = 1.0
LOST = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
"""Errors after which the connection is given up; `TimeoutError` is an `OSError`."""
_log = structlog.get_logger(__name__)


class ProjectorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one projector; `_seconds` are wall seconds.

    It rests after a batch that was not full and that nobody waits for, so that a busy log is taken
    in few large batches. A standby asks for the lead every `standby_seconds`: waiting inside the
    server would hold back vacuum.
    """

    batch_events_max: int = BATCH_EVENTS_MAX
    batch_seconds_max: float = 60.0
    poll_seconds: float = 3.0
    rest_seconds: float = 0.05
    standby_seconds: float = 1.0
    silence_seconds_max: float = 15.0
    retry_seconds: float = 0.5


class Projector:
    """`run()` follows the log until closed; `run_once()` takes one batch.

    `position` is how far the read model is known to be, whoever leads.

    `dsn` must lead to PostgreSQL itself, as the lead is a session's. `wakeup` is started and closed
    by its owner.
    """

    def __init__(
        self,
        dsn: str,
        table: ReadTable,
        mapper: EventMapper,
        wakeup: Wakeup,
        limits: ProjectorLimits | None = None,
    ) -> None:
        self.limits = limits or ProjectorLimits()
        self.position = 0
        self.leading = False
        self._dsn = dsn
        self._model = ReadModel(table, mapper)
        self._connection: Connection | None = None
        self._watch = wakeup.watch()
        self._moved = asyncio.Condition()
        self._waiting = 0
        self._hurry = asyncio.Event()
        self._closing = False
        self._stopped = asyncio.Event()
        self._stopped.set()

    @property
    def consumer(self) -> str:
        return self._model.consumer

    async def run(self) -> None:
        """Follow the log until closed or cancelled, through lost connections and lost leads."""
        self._stopped.clear()
        try:
            while not self._closing:
                await self._pause(await self._turn())
        finally:
            self._stopped.set()
            await self._disconnect()
            await self._tell()

    async def run_once(self) -> int:
        """Take one batch; how many events of the log it passed.

        0 at the end of the log or as a standby. Raises `Unavailable` when the connection is lost;
        the next call makes a new one.
        """
        try:
            async with asyncio.timeout(self.limits.batch_seconds_max):
                return await self._batch()
        except LOST as error:
            await self._disconnect()
            raise Unavailable(f"{self.consumer}: {error}") from error
        except BaseException:
            await self._disconnect()
            raise

    async def catch_up(self, position: int) -> None:
        """Return when the read model holds the log up to `position`; bound it with a timeout.

        Needs `run()`, here or (seen every `standby_seconds`) in another process. Raises
        `ShuttingDown` if it ends.
        """
        self._waiting += 1
        self._rouse()
        try:
            async with self._moved:
                await self._moved.wait_for(lambda: self.position >= position or self._closing)
        finally:
            self._waiting -= 1
        if self.position < position:
            raise ShuttingDown(f"{self.consumer} stopped at position {self.position}.")

    async def close(self) -> None:
        """Finish the batch under way, give up the lead and disconnect."""
        self._closing = True
        self._rouse()
        await self._stopped.wait()
        await self._disconnect()
        await self._tell()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _turn(self) -> int | None:
        """Events passed by one batch; None when something went wrong, which is logged."""
        try:
            return await self.run_once()
        except AdapterError as error:
            _log.warning("projector.interrupted", projection=self.consumer, error=str(error))
        except Exception:  # noqa: BLE001 - one bad turn must not end the loop
            _log.exception("projector.failed", projection=self.consumer)
        return None

    async def _pause(self, passed: int | None) -> None:
        limits = self.limits
        if passed is None:
            await self._wait(self._hurry, limits.retry_seconds)
        elif not self.leading:
            await self._wait(self._hurry, limits.standby_seconds)
        elif passed == 0:
            await self._watch.wait(limits.poll_seconds)
        elif passed < limits.batch_events_max and not self._waiting:
            await self._wait(self._hurry, limits.rest_seconds)

    async def _wait(self, signal: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await signal.wait()
        signal.clear()

    def _rouse(self) -> None:
        self._hurry.set()
        self._watch.wake(None)

    async def _batch(self) -> int:
        connection = await self._connect()
        if not self.leading:
            await self._move(await self._model.begin(connection))
            self.leading = await self._take_lead(connection)
            if not self.leading:
                return 0
        advance = await self._model.advance(connection, self.limits.batch_events_max)
        await self._move(advance.position)
        return advance.passed

    async def _connect(self) -> Connection:
        if self._connection is None:
            silence = int(self.limits.silence_seconds_max * 1000)
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                application_name=f"tallystick {self.consumer}",
                connect_timeout=CONNECT_SECONDS_MAX,
                options=(
                    f"-c idle_session_timeout={silence}"
                    f" -c idle_in_transaction_session_timeout={silence}"
                    # Plans are kept from when the tables were empty; they must fit full ones.
                    " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
                ),
            )
        return self._connection

    async def _take_lead(self, connection: Connection) -> bool:
        answer = await connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (lead_lock(self.consumer),)
        )
        row = await answer.fetchone()
        assert row is not None
        return bool(row[0])

    async def _move(self, position: int) -> None:
        if position > self.position:
            self.position = position
            await self._tell()

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _disconnect(self) -> None:
        """Give up the lead: at once if the session answers, else with its end."""
        connection, self._connection = self._connection, None
        self.leading = False
        if connection is None:
            return
        if connection.info.transaction_status is TransactionStatus.IDLE:
            with contextlib.suppress(*LOST):
                async with asyncio.timeout(UNLOCK_SECONDS_MAX):
                    await connection.execute("SELECT pg_advisory_unlock_all()")
        await connection.close()


def lead_lock(consumer: str) -> str:
    """What is hashed to the number of the advisory lock that a projection's leader holds."""
    return f"projector {consumer}"
