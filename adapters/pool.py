"""The pool of connections that reads, and light writes such as heartbeats, share in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import QueryNoTemplate
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domain.errors import Unavailable

Connection = AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]
LOST = (psycopg.OperationalError, psycopg.InterfaceError)
OPEN_SECONDS_MAX = 10.0


@asynccontextmanager
async def open_pool(dsn: str, connections_max: int) -> AsyncIterator[Pool]:
    """An autocommit pool of 1 to `connections_max` connections. Raises `Unavailable`."""
    pool: Pool = AsyncConnectionPool(
        dsn, min_size=1, max_size=connections_max, kwargs={"autocommit": True}, open=False
    )
    try:
        await pool.open(wait=True, timeout=OPEN_SECONDS_MAX)
    except (PoolTimeout, psycopg.Error) as error:
        await pool.close()
        raise Unavailable(f"The database cannot be reached: {error}") from error
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool, for this while.

    The pool waits by `asyncio.wait_for`, which in Python 3.11 loses a cancellation that comes in
    the moment in which the connection does (psycopg issue 1345); here it is still heard.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    async with pool.connection() as connection:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        yield connection


async def fetch(
    pool: Pool, query: QueryNoTemplate, parameters: Mapping[str, object], *, prepare: bool = True
) -> list[tuple[Any, ...]]:
    """All rows of one query; raises `Unavailable`.

    `prepare=False` has it planned for its very values, which a query with optional conditions
    needs.
    """
    try:
        async with lent(pool) as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(query, parameters, prepare=prepare)
            return await cursor.fetchall()
    except LOST as error:
        raise Unavailable(f"The database cannot be read: {error}") from error
