"""The pool of connections that reads, and light writes such as heartbeats, share in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from adapters.log import Pool
from domain.errors import Unavailable

CONNECT_SECONDS_MAX = 10.0


@asynccontextmanager
async def open_pool(dsn: str, connections_max: int) -> AsyncIterator[Pool]:
    """An autocommit pool of 1 to `connections_max` connections. Raises `Unavailable`."""
    pool: Pool = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=connections_max,
        kwargs={"autocommit": True},
        check=AsyncConnectionPool.check_connection,
        open=False,
    )
    try:
        await pool.open(wait=True, timeout=CONNECT_SECONDS_MAX)
    except (PoolTimeout, psycopg.Error) as error:
        await pool.close()
        raise Unavailable(f"The database cannot be reached: {error}") from error
    try:
        yield pool
    finally:
        await pool.close()
