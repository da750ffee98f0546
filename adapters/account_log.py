"""One account's facts out of the whole log, read in windows of bounded work."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec
import structlog
from eventsourcing.persistence import MapperDeserialisationError

from adapters.log import Recorded
from adapters.mapper import EventMapper
from adapters.pool import Pool, fetch
from adapters.queries import balance_of
from adapters.sql import statement
from domain.balance import Balance

WINDOW_POSITIONS = 5_000
"""Positions of the log that one window looks at, whosever they are."""
WINDOW_FACTS_MAX = 200
WINDOW_BYTES_MAX = 4 * 2**20
"""Of stored facts in one window, not counting its last one."""
_log = structlog.get_logger(__name__)


class Window(msgspec.Struct, frozen=True):
    """All facts of the account up to the position `upto`, in order."""

    facts: list[Recorded]
    upto: int


class AccountLog:
    """Reads in commit order. Facts that cannot be loaded are logged and left out.

    Raises `Unavailable`.
    """

    def __init__(self, pool: Pool, mapper: EventMapper) -> None:
        self._pool = pool
        self._mapper = mapper

    async def window(self, account_id: UUID, after: int, upto: int) -> Window:
        """The next piece past `after`, which ends at `upto` or, where that is far, before it."""
        end = min(after + WINDOW_POSITIONS, upto)
        parameters = {
            "account_id": account_id,
            "after": after,
            "upto": end,
            "limit": WINDOW_FACTS_MAX,
            "bytes_max": WINDOW_BYTES_MAX,
        }
        rows = await fetch(self._pool, statement("select_account_events"), parameters)
        size = sum(len(row[2]) for row in rows)
        if len(rows) == WINDOW_FACTS_MAX or size >= WINDOW_BYTES_MAX:
            end = rows[-1][0]
        return Window(list(self._readable(rows)), end)

    def _readable(self, rows: Iterable[tuple[int, str, bytes]]) -> Iterable[Recorded]:
        for position, topic, state in rows:
            try:
                yield Recorded(position, self._mapper.decode(topic, state))
            except MapperDeserialisationError:
                _log.exception("event.unreadable", position=position)

    async def balance(self, account_id: UUID) -> tuple[int, Balance] | None:
        """The account, and the position of the log's last event as of it; both of one snapshot."""
        rows = await fetch(self._pool, statement("select_account_at"), {"account_id": account_id})
        return (int(rows[0][0]), balance_of(rows[0][1:])) if rows else None
