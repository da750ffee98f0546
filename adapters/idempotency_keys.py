"""Idempotency keys are written with the events they guard; here they are forgotten in time."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from adapters.sql import statement
from domain.errors import Unavailable


async def delete_expired_keys(pool: AsyncConnectionPool[Any], *, days: int, limit: int) -> int:
    """Forget up to `limit` keys that are older than `days`, by the database's clock; how many.

    Raises `Unavailable`.
    """
    try:
        async with pool.connection() as connection:
            cursor = await connection.execute(statement("delete_expired_keys"), (days, limit))
            return cursor.rowcount
    except (psycopg.OperationalError, PoolTimeout, OSError) as error:
        raise Unavailable(f"Idempotency keys cannot be purged now: {error}") from error
