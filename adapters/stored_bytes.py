"""How much each account stores: counted now and then, and kept up to date between the counts."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.event import BYTES_MAX


class Usage(NamedTuple):
    """What an account stores, and its plan; `counted_at` is None while nothing was counted.

    Never less than what lies there, but for what a crash took between storing and telling; a next
    count has both. More by what was replaced, or left over by attempts, since the count began.
    """

    plan: str
    stored_bytes: int
    counted_at: datetime | None


class Count(NamedTuple):
    """A count under way: its number, and what had been added when it began."""

    number: int
    added: int


class StoredBytes:
    """Each method is one statement; raises `Unavailable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def usage(self, account_id: UUID) -> Usage | None:
        """None where there is no such account."""
        rows = await fetch(self._pool, statement("select_stored_bytes"), {"account_id": account_id})
        return Usage(*rows[0]) if rows else None

    async def add(self, account_id: UUID, size_bytes: int) -> None:
        """Tell of what was stored just now, after it was."""
        parameters = {"account_id": account_id, "size_bytes": size_bytes}
        await fetch(self._pool, statement("add_stored_bytes"), parameters)

    async def begin_count(self, account_id: UUID) -> Count:
        """Before the first object is looked at. What is added from here on outlives the count."""
        rows = await fetch(self._pool, statement("begin_stored_count"), {"account_id": account_id})
        return Count(*rows[0])

    async def end_count(self, account_id: UUID, count: Count, counted: int) -> datetime | None:
        """Take over what was counted; None where another count ended first, which then stands."""
        parameters = {
            "account_id": account_id,
            "counts": count.number,
            "added": count.added,
            "counted": min(counted, BYTES_MAX),
        }
        rows = await fetch(self._pool, statement("end_stored_count"), parameters)
        return rows[0][0] if rows else None
