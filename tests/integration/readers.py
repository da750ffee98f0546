"""Readers of the log with their own connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg_pool import AsyncConnectionPool

from adapters.log import POLL_SECONDS, EventLog, Recorded
from adapters.mapper import EventMapper
from adapters.pool import Pool
from adapters.wakeup import Wakeup

EVERYTHING = 1_000_000


@asynccontextmanager
async def open_log(dsn: str, *, poll_seconds: float = POLL_SECONDS) -> AsyncIterator[EventLog]:
    pool: Pool = AsyncConnectionPool(
        dsn, min_size=1, max_size=2, open=False, timeout=5, kwargs={"autocommit": True}
    )
    async with pool, Wakeup(dsn) as wakeup:
        yield EventLog(pool, EventMapper(), wakeup, poll_seconds=poll_seconds)


class Follower:
    """Follows the log from its beginning; `seen` is all that came, in batches and in sum."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._grown = asyncio.Event()
        self.batches: list[list[Recorded]] = []

    @property
    def seen(self) -> list[Recorded]:
        return [recorded for batch in self.batches for recorded in batch]

    async def follow(self) -> None:
        async for batch in self._log.follow(0, limit=EVERYTHING):
            self.batches.append(batch)
            self._grown.set()

    async def reach(self, position: int) -> None:
        """Wait until an event at `position` or later was seen."""
        while not self.batches or self.batches[-1][-1].position < position:
            self._grown.clear()
            await self._grown.wait()


@asynccontextmanager
async def following(log: EventLog) -> AsyncIterator[Follower]:
    follower = Follower(log)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(follower.follow())
        yield follower
        task.cancel()
