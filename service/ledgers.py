"""What is done with accounts' ledgers apart from tasks: by operators, by owners, and by time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from adapters.decision import Committed, Cursor, States
from adapters.ledger_log import was_granted
from adapters.queries import Queries
from adapters.queue import find_due_ledgers
from domain import ledger, reference
from domain.aggregate import LEDGERS, REFERENCES, Stream
from domain.errors import InvalidInput, VersionMismatch
from domain.event import Event, Metadata
from domain.ledger import CreditLedger, LedgerCommand
from domain.plan import Plan
from domain.reference import reference_id
from service.command import Once, Origin
from service.command_bus import CommandBus
from service.ownership import account_in
from service.swept import Swept

TIME = Origin(actor="time")
SWEEP_EVENTS_MAX = 2_000
"""Events of one sweep over what is due, up to those of the last moment that it looks at."""
CommandOf = Callable[[CreditLedger], LedgerCommand]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Of which account, by whom, maybe once only, and maybe of certain `versions` alone."""

    account_id: UUID
    origin: Origin
    once: Once | None = None
    versions: frozenset[int] | None = None

    @property
    def stream(self) -> Stream:
        return Stream(LEDGERS, self.account_id)

    def of(self, states: States) -> CreditLedger:
        """Raises `NotFound`, then `VersionMismatch`."""
        found = account_in(states, self.account_id)
        if self.versions is not None and found.version not in self.versions:
            raise VersionMismatch(min(self.versions, default=0), found.version)
        return found


class Ledgers:
    """Raises the domain's typed refusals and the committer's errors."""

    def __init__(self, bus: CommandBus, queries: Queries) -> None:
        self._bus = bus
        self._queries = queries

    async def carry_out(self, asked: Asked, command: LedgerCommand | CommandOf) -> Committed:
        """One command of the account's ledger, or what is made of the ledger as it is."""
        if isinstance(command, ledger.GrantCredits | ledger.AdjustCredits):
            return await self._referenced(asked, command)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            current = asked.of(states)
            made = command(current) if callable(command) else command
            return ledger.decide(current, made, meta, self._plan_after(current, made))

        return await self._bus.execute(
            decide, asked.origin, streams=(asked.stream,), once=asked.once
        )

    async def _referenced(
        self, asked: Asked, command: ledger.GrantCredits | ledger.AdjustCredits
    ) -> Committed:
        """Grant or adjust credits; the same `source_ref` again changes nothing.

        Raises `ReferenceReused` where it was used with other content.
        """
        used = reference_id(asked.account_id, command.source_ref)
        followed = _Followed(asked.account_id, getattr(command, "rolls_over", None))

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            current = asked.of(states)
            plan = self._bus.plan_of(current)
            decided = reference.decide(states[used], current, command, meta, plan)
            if decided:
                followed.guard(current)
            return decided

        return await self._bus.execute(
            decide,
            asked.origin,
            streams=(asked.stream, Stream(REFERENCES, used)),
            find=followed.find if followed.asked_for else None,
            once=asked.once,
        )

    def _plan_after(self, current: CreditLedger, command: LedgerCommand) -> Plan | None:
        """By which the owner is told of what `command` leaves."""
        if isinstance(command, ledger.ChangePlan):
            return self._bus.plans.known(command.plan)
        return self._bus.plan_of(current)

    async def change_plan(self, asked: Asked, plan: str, reason: str) -> Committed:
        """Raises `InvalidInput` for a plan that does not exist."""
        command = ledger.ChangePlan(plan=self._bus.plans.named(plan).name, reason=reason)
        return await self.carry_out(asked, command)

    async def close_books(self, asked: Asked, period: str, reason: str) -> Committed:
        """Close a month (`2026-11`, UTC) that has begun; quiet for one that is closed.

        Raises `InvalidInput` for a month to come: it would keep all before it from being closed.
        """
        command = ledger.CloseBooks(period=period, reason=reason)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            if period > meta.at.strftime("%Y-%m"):
                raise InvalidInput("The period has not begun.", ("/period", "is in the future"))
            current = asked.of(states)
            return ledger.decide(current, command, meta, self._bus.plan_of(current))

        return await self._bus.execute(
            decide, asked.origin, streams=(asked.stream,), once=asked.once
        )

    async def hold(
        self,
        asked: Asked,
        hold_id: UUID,
        *,
        amount: int,
        reason: str,
        expires_at: datetime | None = None,
    ) -> Committed:
        """Set credits aside for something outside; it counts among the active tasks."""

        def command(current: CreditLedger) -> LedgerCommand:
            return ledger.HoldCredits(
                hold_id=hold_id,
                amount=amount,
                plan=self._bus.plans.named(current.balance.plan),
                expires_at=expires_at,
                reason=reason,
            )

        return await self.carry_out(asked, command)

    # What time brings

    async def settle_due(self, limit: int) -> Swept:
        """Enter what time has brought (grants mature and expire, holds expire) in the log.

        At most `limit` ledgers and about `SWEEP_EVENTS_MAX` events, the rest the next time; counts
        the ledgers that were changed. Commands on a ledger do so themselves where it was not done
        yet, so that none of them is decided on a balance of before; and so do readers.
        """
        found: list[Stream] = []
        find = find_due_ledgers(limit)

        async def remember(cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
            found[:] = await find(cursor, taken)
            return found

        committed = await self._bus.execute(
            self._settling(found, SWEEP_EVENTS_MAX), TIME, find=remember
        )
        changed = len({event.originator_id for event in committed.events})
        cut = len(found) == limit or len(committed.events) >= SWEEP_EVENTS_MAX
        return Swept(changed, more=changed > 0 and cut)

    async def settle(self, account_ids: Sequence[UUID]) -> bool:
        """Make these accounts' rows right as of now; whether one of them may have been changed."""
        due = [Stream(LEDGERS, account_id) for account_id in await self._queries.due(account_ids)]
        if due:
            await self._bus.execute(self._settling(due), TIME, streams=tuple(due))
        return bool(due)

    async def state(self, account_id: UUID) -> CreditLedger:
        """The whole ledger as of now, what time has brought included. Raises `NotFound`."""
        asked = Asked(account_id=account_id, origin=TIME)
        committed = await self.carry_out(asked, ledger.SettleDue())
        return account_in(committed.states, account_id)

    def _settling(
        self, streams: Sequence[Stream], events_max: int | None = None
    ) -> Callable[[States, Metadata], Sequence[Event]]:
        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            events: list[Event] = []
            for stream in streams:
                left = None if events_max is None else events_max - len(events)
                if left is not None and left <= 0:
                    break
                current: CreditLedger = states[stream.id]
                plan = self._bus.plan_of(current)
                events += ledger.decide(current, ledger.SettleDue(events_max=left), meta, plan)
            return events

        return decide


class _Followed:
    """The grant that another one is to follow: one that is spent is known to the log alone."""

    def __init__(self, account_id: UUID, grant_id: UUID | None) -> None:
        self._account_id = account_id
        self._grant_id = grant_id
        self._logged = False

    @property
    def asked_for(self) -> bool:
        return self._grant_id is not None

    async def find(self, cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        assert self._grant_id is not None, "it is looked for where one is named"
        self._logged = await was_granted(cursor, self._account_id, self._grant_id)
        return ()

    def guard(self, current: CreditLedger) -> None:
        """Raises `InvalidInput` for a grant that the account never had."""
        if not self.asked_for or self._logged:
            return
        if all(grant.id != self._grant_id for grant in current.grants):
            sentence = "names no grant of the account"
            raise InvalidInput("There is nothing to follow.", ("/rolls_over", sentence))
