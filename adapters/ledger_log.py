"""What became of a hold, and where a grant came from, found in the log by their ids.

Read under the log's lock, within a command that needs it, so it is exact: no read model is behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import msgspec

from adapters.arrays import Byteas
from adapters.decision import Cursor
from adapters.mapper import EventMapper
from adapters.sql import statement
from domain.ledger_events import (
    OVERDRAFT,
    CreditsCaptured,
    CreditsGranted,
    CreditsReleased,
    HoldExpired,
)

HoldEnd = CreditsCaptured | CreditsReleased | HoldExpired
_NONE: Mapping[UUID, CreditsGranted] = MappingProxyType({})


class EndedHold(msgspec.Struct, frozen=True):
    """The event that ended a hold, and those by which the grants that it charged came in."""

    end: HoldEnd
    grants: Mapping[UUID, CreditsGranted] = _NONE


class TaskHold(NamedTuple):
    """The hold of a task's last run; with `group_id` it is the group's."""

    hold_id: UUID
    group_id: UUID | None


async def was_granted(cursor: Cursor, account_id: UUID, grant_id: UUID) -> bool:
    """Whether the account ever had the grant, whatever has become of it since."""
    parameters = {"grants": Byteas([str(grant_id).encode()]), "account_id": account_id}
    await cursor.execute(statement("select_grants_by_id"), parameters, prepare=True)
    return await cursor.fetchone() is not None


class LedgerLog:
    """Each method is one or two look-ups by index, on the cursor of the command that asks."""

    def __init__(self, mapper: EventMapper) -> None:
        self._mapper = mapper

    async def ended_hold(self, cursor: Cursor, account_id: UUID, hold_id: UUID) -> EndedHold | None:
        """None where no hold of that id has ended on the account."""
        parameters = {"hold": str(hold_id).encode(), "account_id": account_id}
        await cursor.execute(statement("select_hold_end"), parameters, prepare=True)
        row = await cursor.fetchone()
        if row is None:
            return None
        end = self._mapper.decode(*row)
        assert isinstance(end, HoldEnd), "the statement finds ends of holds"
        if not isinstance(end, CreditsCaptured):
            return EndedHold(end)
        return await self._charged(cursor, end)

    async def _charged(self, cursor: Cursor, capture: CreditsCaptured) -> EndedHold:
        grant_ids = {piece.grant_id for piece in capture.slices} - {OVERDRAFT}
        parameters = {
            "grants": Byteas([str(grant_id).encode() for grant_id in grant_ids]),
            "account_id": capture.originator_id,
        }
        await cursor.execute(statement("select_grants_by_id"), parameters, prepare=True)
        events = [self._mapper.decode(*row) for row in await cursor.fetchall()]
        granted = (event for event in events if isinstance(event, CreditsGranted))
        return EndedHold(capture, {event.grant_id: event for event in granted})

    async def task_hold(self, cursor: Cursor, account_id: UUID, task_id: UUID) -> TaskHold | None:
        """None where the account has no such task."""
        parameters = {"task_id": task_id, "account_id": account_id}
        await cursor.execute(statement("select_task_hold"), parameters, prepare=True)
        row = await cursor.fetchone()
        return None if row is None else TaskHold(*row)
