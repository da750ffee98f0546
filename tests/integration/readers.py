"""A reader of the log with its own connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg_pool import AsyncConnectionPool

from adapters.log import POLL_SECONDS, EventLog, Pool
from adapters.mapper import EventMapper
from adapters.wakeup import Wakeup


@asynccontextmanager
async def open_log(dsn: str, *, poll_seconds: float = POLL_SECONDS) -> AsyncIterator[EventLog]:
    pool: Pool = AsyncConnectionPool(
        dsn, min_size=1, max_size=2, open=False, timeout=5, kwargs={"autocommit": True}
    )
    async with pool, Wakeup(dsn) as wakeup:
        yield EventLog(pool, EventMapper(), wakeup, poll_seconds=poll_seconds)
