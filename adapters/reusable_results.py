"""Results of completed tasks that another task of the same content may take over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from msgspec import Raw

from adapters.arrays import Floats, Texts
from adapters.pool import Pool, fetch
from adapters.sql import statement

FOUND_BYTES_MAX = 32 * 1024 * 1024
"""Results that one look brings, at most; the others count as not found."""


class Reusable(NamedTuple):
    """A result (a JSON object), and the task that made it."""

    task_id: UUID
    result: Raw


class ReusableResults:
    """One look is one query. Raises `Unavailable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def newest(self, seconds: Mapping[str, float]) -> dict[str, Reusable]:
        """By content key, the newest result of at most so many seconds, by the database's clock."""
        parameters = {
            "keys": Texts(seconds),
            "seconds": Floats(seconds.values()),
            "bytes_max": FOUND_BYTES_MAX,
        }
        rows = await fetch(self._pool, statement("select_reusable"), parameters)
        return {key: Reusable(task_id, Raw(result.encode())) for key, task_id, result in rows}
