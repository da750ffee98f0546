"""Counts the queue, however deep it is, without more than a small share of anybody's time.

A count that is quick is made whenever it is asked for. A slow one is kept in the database for all
processes, and made again only when so much time has passed that counting stays below `SHARE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from adapters.pool import LOST, Pool, fetch, lent
from adapters.sql import statement
from domain.errors import Unavailable

SHARE = 0.05
"""Part of the time that all processes together may spend on counting."""
QUICK_SECONDS = 0.05
"""What takes no longer is counted again for everyone who asks."""
COUNT_SECONDS_MAX = 60.0
PATIENCE_SECONDS = 0.5
"""So long a new count is waited for when there is one of a while ago."""
KEPT_SECONDS_MAX = 600.0
"""A count older than this is no longer told."""
COUNT_LOCK = 0x7461_6C6C_7971
"""Advisory lock of whoever makes a slow count."""


class QueueDepth(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of one type that have not ended.

    `waiting` could start now; `paused` could but for a pause of their type, provider or account
    (tasks of an account from when a sweep has put them aside); `delayed` may not start yet;
    `backoff` have a pause after a failed attempt that is not over; `active` are worked on or being
    cancelled. The first that could start has waited since `oldest_at`, for `oldest_seconds` when it
    was counted, 0 when none waits.
    """

    type: str
    waiting: int
    paused: int
    delayed: int
    backoff: int
    active: int
    oldest_at: datetime | None
    oldest_seconds: float


class QueueCount(msgspec.Struct, frozen=True, kw_only=True):
    """The queue by type as of `counted_at`; types without such tasks are left out."""

    counted_at: datetime
    depths: list[QueueDepth]


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A slow count, how long it took, and how long ago that was."""

    count: QueueCount
    took_seconds: float
    age_seconds: float

    @property
    def serves(self) -> bool:
        return self.age_seconds * SHARE < self.took_seconds

    @property
    def known(self) -> bool:
        return self.age_seconds < KEPT_SECONDS_MAX


class QueueCounter:
    """One a process; its owner closes it before the pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._counting: asyncio.Task[QueueCount] | None = None

    async def count(self) -> QueueCount:
        """The queue now, or a while ago when counting takes long. Raises `Unavailable`.

        A count goes on when its caller is cancelled, for the next one to find.
        """
        kept = await self._kept()
        if kept is not None and kept.serves:
            return kept.count
        counting = self._begin(kept)
        if kept is None or not kept.known:
            return await asyncio.shield(counting)
        await asyncio.wait([counting], timeout=PATIENCE_SECONDS)
        return counting.result() if counting.done() else kept.count

    async def close(self) -> None:
        """Give up a count under way."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.wait([self._counting])

    async def _kept(self) -> _Kept | None:
        rows = await fetch(self._pool, statement("select_queue_count"), {})
        for counted_at, took_seconds, depths, age_seconds in rows:
            count = QueueCount(
                counted_at=counted_at,
                depths=msgspec.json.decode(depths, type=list[QueueDepth]),
            )
            return _Kept(count=count, took_seconds=took_seconds, age_seconds=age_seconds)
        return None

    def _begin(self, kept: _Kept | None) -> asyncio.Task[QueueCount]:
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count(kept), name="queue count")
            self._counting.add_done_callback(_look)
        return self._counting

    async def _count(self, kept: _Kept | None) -> QueueCount:
        """Count, unless another process does so and has left a count before."""
        try:
            async with (
                asyncio.timeout(COUNT_SECONDS_MAX),
                lent(self._pool) as connection,
                connection.transaction(),
            ):
                alone = await _lock(connection)
                if not alone and kept is not None and kept.known:
                    return kept.count
                return await _counted(connection)
        except (*LOST, TimeoutError) as error:
            raise Unavailable(f"The queue cannot be counted: {error}") from error


async def _lock(connection: AsyncConnection[tuple[Any, ...]]) -> bool:
    answer = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (COUNT_LOCK,))
    row = await answer.fetchone()
    return row is not None and bool(row[0])


async def _counted(connection: AsyncConnection[tuple[Any, ...]]) -> QueueCount:
    cursor = connection.cursor(binary=True)
    begun = time.monotonic()
    # Before the count, so that of two counts the later one has seen more.
    await cursor.execute("SELECT clock_timestamp()")
    [(counted_at,)] = await cursor.fetchall()
    # Planned anew each time: a plan kept from when the queue was short does not fit a deep one.
    await cursor.execute(statement("count_queue"), prepare=False)
    depths = [_depth(counted_at, *row) for row in await cursor.fetchall()]
    took_seconds = time.monotonic() - begun
    count = QueueCount(counted_at=counted_at, depths=depths)
    if took_seconds > QUICK_SECONDS:
        parameters = {
            "counted_at": counted_at,
            "took_seconds": took_seconds,
            "depths": msgspec.json.encode(depths).decode(),
        }
        await cursor.execute(statement("insert_queue_count"), parameters)
    return count


def _depth(
    now: datetime,
    type_: str,
    waiting: int,
    paused: int,
    delayed: int,
    backoff: int,
    active: int,
    oldest_at: datetime | None,
) -> QueueDepth:
    return QueueDepth(
        type=type_,
        waiting=waiting,
        paused=paused,
        delayed=delayed,
        backoff=backoff,
        active=active,
        oldest_at=oldest_at,
        oldest_seconds=0.0 if oldest_at is None else max(0.0, (now - oldest_at).total_seconds()),
    )


def _look(counting: asyncio.Task[QueueCount]) -> None:
    """An error that nobody waits for any more is no news: the next count has it too."""
    with contextlib.suppress(asyncio.CancelledError):
        counting.exception()
