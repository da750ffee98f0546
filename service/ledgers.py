"""What is done with accounts' ledgers apart from tasks: by time, and by operators."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.decision import Cursor, States
from adapters.queue import find_due_ledgers
from domain import ledger
from domain.aggregate import Stream
from domain.event import Event, Metadata
from service.command_bus import CommandBus, Origin


class Ledgers:
    """Raises the domain's typed refusals and the committer's errors."""

    def __init__(self, bus: CommandBus) -> None:
        self._bus = bus

    async def settle_due(self, limit: int) -> int:
        """Enter what time has brought (grants mature and expire, holds expire) in the log.

        At most `limit` ledgers; how many. Commands on a ledger do so themselves where it was not
        done yet, so that none of them is decided on a balance of before.
        """
        found: list[Stream] = []
        find = find_due_ledgers(limit)

        async def remember(cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
            found[:] = await find(cursor, taken)
            return found

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            return [
                event
                for stream in found
                for event in ledger.decide(states[stream.id], ledger.SettleDue(), meta)
            ]

        await self._bus.execute(decide, Origin(actor="time"), find=remember)
        return len(found)
