"""Holds that outsiders settle, and what can still be done once a hold has ended: a refund."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from adapters.decision import Committed, Cursor, States
from adapters.ledger_log import EndedHold, HoldEnd, LedgerLog, TaskHold
from domain import ledger
from domain.aggregate import Stream
from domain.errors import HoldNotFound, HoldSettled, MemberOfGroup, NotFound
from domain.event import Event, Metadata
from domain.ledger import HOLD, CreditLedger, LedgerCommand
from domain.ledger_events import CreditsCaptured, CreditsGranted, CreditsReleased
from service.command_bus import CommandBus
from service.ledgers import Asked, CommandOf, Ledgers

LOOKS_MAX = 2
"""A hold that ended in the very batch of the first look is found by the second."""


class Holds:
    """Raises the domain's typed refusals and the committer's errors."""

    def __init__(self, bus: CommandBus, ledgers: Ledgers, log: LedgerLog) -> None:
        self._bus = bus
        self._ledgers = ledgers
        self._log = log

    async def extend(
        self,
        asked: Asked,
        hold_id: UUID,
        *,
        added: int,
        expires_at: datetime | None,
        reason: str,
    ) -> Committed:
        """Hold `added` credits more, or until later, or both."""

        def command(current: CreditLedger) -> LedgerCommand:
            return ledger.ExtendHold(
                hold_id=hold_id,
                plan=self._bus.plans.named(current.balance.plan),
                added=added,
                expires_at=expires_at,
                reason=reason,
                outside=True,
            )

        return await self._on_hold(asked, hold_id, command)

    async def capture(
        self, asked: Asked, hold_id: UUID, *, amount: int | None, reason: str
    ) -> Committed:
        """Charge `amount` of the hold, or all of it; the rest goes back."""
        command = ledger.CaptureHold(hold_id=hold_id, amount=amount, reason=reason, outside=True)
        return await self._on_hold(asked, hold_id, command)

    async def release(self, asked: Asked, hold_id: UUID, *, reason: str) -> Committed:
        """Give all of the hold back."""
        command = ledger.ReleaseHold(hold_id=hold_id, reason=reason, outside=True)
        return await self._on_hold(asked, hold_id, command)

    async def _on_hold(
        self, asked: Asked, hold_id: UUID, command: LedgerCommand | CommandOf
    ) -> Committed:
        """Raises `HoldSettled` for one that has ended, `NotFound` for one that never was."""
        try:
            return await self._ledgers.carry_out(asked, command)
        except HoldSettled:
            raise
        except HoldNotFound:
            pass
        look = _Look(self._log, asked, hold_id)

        def refuse(states: States, _: Metadata) -> Sequence[Event]:
            raise look.refusal(asked.of(states))

        return await self._bus.execute(
            refuse, asked.origin, streams=(asked.stream,), find=look.find, once=asked.once
        )

    async def refund(
        self, asked: Asked, hold_id: UUID, *, amount: int | None, reason: str
    ) -> Committed:
        """Give back `amount` of what the hold's capture charged, or all that is left of it."""
        return await self._refund(_Look(self._log, asked, hold_id), amount, reason)

    async def refund_task(
        self, asked: Asked, task_id: UUID, *, amount: int | None, reason: str
    ) -> Committed:
        """The same for what a task was charged. Raises `MemberOfGroup`: its group was charged."""
        look = _Look(self._log, asked, hold_id=None, task_id=task_id)
        return await self._refund(look, amount, reason)

    async def _refund(self, look: _Look, amount: int | None, reason: str) -> Committed:
        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            current = look.asked.of(states)
            capture = look.capture(current, meta.at)
            command = ledger.RefundCapture(
                capture=capture, amount=amount, reason=reason, grants=look.grants
            )
            return ledger.decide(current, command, meta, self._bus.plan_of(current))

        for remaining in reversed(range(LOOKS_MAX)):
            try:
                return await self._bus.execute(
                    decide,
                    look.asked.origin,
                    streams=(look.asked.stream,),
                    find=look.find,
                    once=look.asked.once,
                )
            except HoldSettled:
                raise
            except HoldNotFound:
                if not remaining:
                    raise NotFound("The account has no hold of that id.") from None
        raise AssertionError("the last look returns or raises")


class _Look:
    """What the log says of a hold, as of the moment in which the command is decided."""

    def __init__(
        self, log: LedgerLog, asked: Asked, hold_id: UUID | None, task_id: UUID | None = None
    ) -> None:
        self.asked = asked
        self._log = log
        self._hold_id = hold_id
        self._task_id = task_id
        self._task: TaskHold | None = None
        self._ended: EndedHold | None = None

    async def find(self, cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        account_id = self.asked.account_id
        if self._task_id is not None:
            self._task = await self._log.task_hold(cursor, account_id, self._task_id)
            self._hold_id = None if self._task is None else self._task.hold_id
        self._ended = None
        if self._hold_id is not None:
            self._ended = await self._log.ended_hold(cursor, account_id, self._hold_id)
        return ()

    def capture(self, current: CreditLedger, at: datetime) -> CreditsCaptured:
        """What is to be refunded. Raises `NotFound`, `MemberOfGroup` and those of `_ended_hold`."""
        if self._task_id is not None:
            if self._task is None:
                raise NotFound("The account has no task of that id.")
            if self._task.group_id is not None:
                raise MemberOfGroup("refund", self._task.group_id)
        end = self._ended_hold(current, at).end
        if not isinstance(end, CreditsCaptured):
            raise HoldSettled(end.hold_id, _state(end, current))
        return end

    @property
    def grants(self) -> Mapping[UUID, CreditsGranted]:
        return {} if self._ended is None else self._ended.grants

    def refusal(self, current: CreditLedger) -> HoldSettled | NotFound:
        """Why a hold that is not open cannot be settled."""
        if self._ended is None:
            return NotFound("The account has no hold of that id.")
        return HoldSettled(self._ended.end.hold_id, _state(self._ended.end, current))

    def _ended_hold(self, current: CreditLedger, at: datetime) -> EndedHold:
        """Raises `IllegalTransition` for an open hold, `HoldNotFound` for none.

        Raises `HoldSettled` also for one whose end is not in the log yet.
        """
        assert self._hold_id is not None, "a task has a hold"
        if self._hold_id in current.holds:
            ends = current.expiring.get(self._hold_id)
            if ends is not None and ends <= at:
                raise HoldSettled(self._hold_id, "expired")
            HOLD.target("refund", "held")
        if self._ended is None:
            raise HoldNotFound(self._hold_id)
        return self._ended


def _state(end: HoldEnd, current: CreditLedger) -> str:
    """How a hold ended, in the words of its machine."""
    if isinstance(end, CreditsCaptured):
        refund = current.refunds.get(end.hold_id)
        return "refunded" if refund is not None and refund.amount == end.amount else "captured"
    return "released" if isinstance(end, CreditsReleased) else "expired"
