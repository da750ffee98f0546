"""Secrets that all processes of one installation share, made by the first that needs them."""

from __future__ import annotations

import secrets

from adapters.pool import LOST, Pool, lent
from adapters.sql import statement
from domain.errors import Unavailable

SECRET_BYTES = 32


async def shared_secret(pool: Pool, name: str) -> bytes:
    """The secret of that name, 256 bits. Raises `Unavailable`."""
    try:
        async with lent(pool) as connection:
            fresh = secrets.token_bytes(SECRET_BYTES)
            await connection.execute(statement("insert_secret"), (name, fresh))
            cursor = await connection.execute("SELECT value FROM secrets WHERE name = %s", (name,))
            row = await cursor.fetchone()
    except LOST as error:
        raise Unavailable("The shared secrets cannot be read.") from error
    assert row is not None
    return bytes(row[0])
