"""What holds tasks back: the gates that are paused, and the tasks put aside behind them."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.decision import Cursor, Find
from adapters.documents import DocumentView, document_view
from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.aggregate import Stream

_COUNT = "SELECT count(*) FROM documents WHERE kind = 'pause' AND status = 'paused'"
_WAKE = "SELECT pg_notify('tallystick_events', 'queued')"


class PausedGates:
    """Counts the paused gates under the log's lock, for the decision that may add one."""

    def __init__(self) -> None:
        self.count = 0

    async def find(self, cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        """Names no streams."""
        await cursor.execute(_COUNT)
        row = await cursor.fetchone()
        assert row is not None
        self.count = row[0]
        return []


def waking() -> Find:
    """Wakes all workers if the transaction commits; names no streams."""

    async def find(cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        await cursor.execute(_WAKE)
        return []

    return find


async def paused_gates(pool: Pool, limit: int) -> list[DocumentView]:
    """At most `limit` of those that are paused, by name. Raises `Unavailable`."""
    rows = await fetch(pool, statement("select_paused"), {"limit": limit})
    return [document_view(row) for row in rows]


async def park_tasks(pool: Pool, limit: int) -> int:
    """Put aside tasks of paused accounts, of the first `limit` of each type; how many.

    At most `limit`. Raises `Unavailable`.
    """
    [(parked,)] = await fetch(pool, statement("park_tasks"), {"limit": limit})
    return int(parked)


async def unpark_tasks(pool: Pool, limit: int) -> int:
    """Put back at most `limit` tasks of accounts that were resumed; how many.

    Raises `Unavailable`.
    """
    [(back, _)] = await fetch(pool, statement("unpark_tasks"), {"limit": limit})
    return int(back)
