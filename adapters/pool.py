"""The pool of connections that reads, and light writes such as heartbeats, share in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import QueryNoTemplate
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domain.errors import Unavailable

Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]
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


async def fetch(
    pool: Pool, query: QueryNoTemplate, parameters: Mapping[str, object], *, prepare: bool = True
) -> list[tuple[Any, ...]]:
    """All rows of one query; raises `Unavailable`.

    `prepare=False` has it planned for its very values, which a query with optional conditions
    needs.
    """
    try:
        async with pool.connection() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(query, parameters, prepare=prepare)
            return await cursor.fetchall()
    except LOST as error:
        raise Unavailable(f"The database cannot be read: {error}") from error
