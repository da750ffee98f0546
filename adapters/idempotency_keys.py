"""Answers to requests with an idempotency key are kept for some days, then go."""

from __future__ import annotations

from adapters.pool import LOST, Pool, lent
from adapters.sql import statement
from domain.errors import Unavailable


async def delete_expired_keys(pool: Pool, *, days: int, limit: int) -> int:
    """Delete up to `limit` records older than `days` (database clock); says how many.

    The limit keeps each turn, and its locks, short. Raises `Unavailable`.
    """
    try:
        async with lent(pool) as connection:
            parameters = {"days": days, "limit": limit}
            cursor = await connection.execute(statement("delete_idempotency_keys"), parameters)
            return cursor.rowcount
    except LOST as error:
        raise Unavailable("Old idempotency keys cannot be deleted.") from error
