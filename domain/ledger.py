"""The credits of one account: grants bring in, holds set aside, captures charge."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import assert_never
from uuid import UUID

import msgspec
from immutables import Map
from msgspec.structs import replace

from domain import balance as totals
from domain.balance import AccountStatus, Balance
from domain.errors import (
    AlreadyExists,
    CaptureExceedsHold,
    HoldNotFound,
    InsufficientCredits,
    InvalidInput,
    LimitReached,
    NotFound,
)
from domain.event import COUNT_MAX, CREDITS_MAX, Event, Metadata
from domain.grants import Grants, burn, moved, split, with_grant
from domain.ledger_events import (
    AccountOpened,
    CreditsCaptured,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
    GrantKind,
    Hold,
    LedgerEvent,
    LedgerSnapshot,
)
from domain.lifecycle import Lifecycle
from domain.plan import Plan

ACCOUNT = Lifecycle(
    "account",
    ["open"],
    "open",
    [
        {"trigger": trigger, "source": "open", "dest": "open"}
        for trigger in ("grant", "hold", "capture", "release")
    ],
)
HOLD = Lifecycle(
    "hold",
    ["held", "captured", "released"],
    "held",
    [
        {"trigger": "capture", "source": "held", "dest": "captured"},
        {"trigger": "release", "source": "held", "dest": "released"},
    ],
)
ACTIVE_RETRY_SECONDS = 10
"""What is said in `Retry-After` when all of an account's active tasks are taken."""
GRANT_PRIORITY_DEFAULT = 100
GRANTS_MAX = 10_000
"""Most grants with credits left in one ledger."""


class CreditLedger(msgspec.Struct, frozen=True, kw_only=True):
    """State of an account. `grants` are those with credits left; `holds` are the open ones.

    Open holds are the account's active tasks. `day_count` counts the tasks that were held for in
    `day`, the latest UTC day with a hold, so a clock set back does not begin a day anew.
    """

    balance: Balance
    grants: Grants = ()
    holds: Map[UUID, Hold] = Map()
    source_refs: Map[str, None] = Map()
    day: date = date.min
    day_count: int = 0

    @property
    def id(self) -> UUID:
        return self.balance.id

    @property
    def version(self) -> int:
        return self.balance.version

    @property
    def status(self) -> AccountStatus:
        return self.balance.status


class OpenAccount(msgspec.Struct, frozen=True, kw_only=True):
    account_id: UUID
    plan: str
    name: str | None = None


class GrantCredits(msgspec.Struct, frozen=True, kw_only=True):
    """The same `source_ref` twice is one grant."""

    grant_id: UUID
    kind: GrantKind
    amount: int
    source_ref: str
    priority: int = GRANT_PRIORITY_DEFAULT
    reason: str = ""


class HoldCredits(msgspec.Struct, frozen=True, kw_only=True):
    """For one task, or for a group of `tasks` of which `slots` may be active at one time.

    `plan` gives the limits that are checked with the balance.
    """

    hold_id: UUID
    amount: int
    plan: Plan
    task_id: UUID | None = None
    group_id: UUID | None = None
    tasks: int = 1
    slots: int = 1


class CaptureHold(msgspec.Struct, frozen=True, kw_only=True):
    """Charge `amount` of the hold; the rest goes back."""

    hold_id: UUID
    amount: int


class ReleaseHold(msgspec.Struct, frozen=True, kw_only=True):
    hold_id: UUID
    reason: str = ""


LedgerCommand = OpenAccount | GrantCredits | HoldCredits | CaptureHold | ReleaseHold


def decide(
    ledger: CreditLedger | None, command: LedgerCommand, meta: Metadata
) -> tuple[LedgerEvent, ...]:
    """Events that `command` leads to; none when it was carried out before.

    Refusals, in this order, after `NotFound` and `IllegalTransition`:
    a grant's are `InvalidInput` (amount, priority), then quiet for a known `source_ref`,
    `AlreadyExists` (grant id), `InvalidInput` (the account's sum), `LimitReached`;
    a hold's are `InvalidInput` (amount), then quiet for the same open hold, `AlreadyExists`
    (another one of that id), `LimitReached` (active, then daily), `InsufficientCredits`;
    a capture's are `HoldNotFound`, `CaptureExceedsHold`; a release's is `HoldNotFound`.
    """
    if isinstance(command, OpenAccount):
        return (_opened(ledger, command, meta),)
    if ledger is None:
        raise NotFound("There is no such account.")
    match command:
        case GrantCredits():
            return _granted(ledger, command, meta)
        case HoldCredits():
            return _held(ledger, command, meta)
        case CaptureHold():
            return (_captured(ledger, command, meta),)
        case ReleaseHold():
            return (_released(ledger, command, meta),)
        case _:
            assert_never(command)


def _opened(ledger: CreditLedger | None, command: OpenAccount, meta: Metadata) -> AccountOpened:
    if ledger is not None:
        raise AlreadyExists("There is an account of that id already.")
    return AccountOpened(
        originator_id=command.account_id,
        originator_version=1,
        meta=meta,
        plan=command.plan,
        name=command.name,
    )


def _granted(
    ledger: CreditLedger, command: GrantCredits, meta: Metadata
) -> tuple[CreditsGranted, ...]:
    ACCOUNT.target("grant", ledger.status)
    if not 0 < command.amount <= CREDITS_MAX:
        raise InvalidInput("A grant needs credits.", ("/amount", f"must be 1 to {CREDITS_MAX}"))
    if not 0 <= command.priority <= COUNT_MAX:
        raise InvalidInput("Priority out of range.", ("/priority", f"must be 0 to {COUNT_MAX}"))
    if command.source_ref in ledger.source_refs:
        return ()
    if any(grant.id == command.grant_id for grant in ledger.grants):
        raise AlreadyExists("There is a grant of that id already.")
    if ledger.balance.granted + command.amount > CREDITS_MAX:
        raise InvalidInput("The account would hold too many credits.", ("/amount", "is too large"))
    if len(ledger.grants) >= GRANTS_MAX:
        raise LimitReached("grants_max", GRANTS_MAX, ACTIVE_RETRY_SECONDS)
    return (
        CreditsGranted(
            originator_id=ledger.id,
            originator_version=ledger.version + 1,
            meta=meta,
            grant_id=command.grant_id,
            kind=command.kind,
            amount=command.amount,
            priority=command.priority,
            source_ref=command.source_ref,
            reason=command.reason,
        ),
    )


def _held(ledger: CreditLedger, command: HoldCredits, meta: Metadata) -> tuple[CreditsHeld, ...]:
    ACCOUNT.target("hold", ledger.status)
    if command.amount < 0:
        raise InvalidInput("A hold cannot be negative.", ("/amount", "must be 0 or more"))
    if (hold := ledger.holds.get(command.hold_id)) is not None:
        asked = (command.task_id, command.group_id, command.amount)
        if (hold.task_id, hold.group_id, hold.amount) == asked:
            return ()
        raise AlreadyExists("There is a hold of that id already.")
    _guard_limits(ledger, command, meta.at)
    if command.amount > ledger.balance.available:
        raise InsufficientCredits(command.amount, ledger.balance.available)
    return (
        CreditsHeld(
            originator_id=ledger.id,
            originator_version=ledger.version + 1,
            meta=meta,
            hold_id=command.hold_id,
            task_id=command.task_id,
            group_id=command.group_id,
            amount=command.amount,
            slices=burn(ledger.grants, command.amount),
            tasks=command.tasks,
            slots=command.slots,
        ),
    )


def _guard_limits(ledger: CreditLedger, command: HoldCredits, at: datetime) -> None:
    plan = command.plan
    if ledger.balance.active + command.slots > plan.active_tasks_max:
        raise LimitReached("active_tasks_max", plan.active_tasks_max, ACTIVE_RETRY_SECONDS)
    day, made = _day_of(ledger, at)
    if made + command.tasks > plan.daily_tasks_max:
        tomorrow = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        wait = int((tomorrow - at).total_seconds()) + 1
        raise LimitReached("daily_tasks_max", plan.daily_tasks_max, wait)


def _day_of(ledger: CreditLedger, at: datetime) -> tuple[date, int]:
    """The UTC day that a hold at `at` counts in, and the tasks held for in it so far."""
    day = max(at.astimezone(UTC).date(), ledger.day)
    return day, ledger.day_count if day == ledger.day else 0


def _hold_of(ledger: CreditLedger, hold_id: UUID, trigger: str) -> Hold:
    ACCOUNT.target(trigger, ledger.status)
    hold = ledger.holds.get(hold_id)
    if hold is None:
        raise HoldNotFound(hold_id)
    HOLD.target(trigger, "held")
    return hold


def _captured(ledger: CreditLedger, command: CaptureHold, meta: Metadata) -> CreditsCaptured:
    hold = _hold_of(ledger, command.hold_id, "capture")
    if not 0 <= command.amount <= hold.amount:
        raise CaptureExceedsHold(command.amount, hold.amount)
    taken, rest = split(hold.slices, command.amount)
    return CreditsCaptured(
        originator_id=ledger.id,
        originator_version=ledger.version + 1,
        meta=meta,
        hold_id=hold.id,
        task_id=hold.task_id,
        group_id=hold.group_id,
        slots=hold.slots,
        amount=command.amount,
        slices=taken,
        released=hold.amount - command.amount,
        released_slices=rest,
    )


def _released(ledger: CreditLedger, command: ReleaseHold, meta: Metadata) -> CreditsReleased:
    hold = _hold_of(ledger, command.hold_id, "release")
    return CreditsReleased(
        originator_id=ledger.id,
        originator_version=ledger.version + 1,
        meta=meta,
        hold_id=hold.id,
        task_id=hold.task_id,
        group_id=hold.group_id,
        slots=hold.slots,
        amount=hold.amount,
        slices=hold.slices,
        reason=command.reason,
    )


def evolve(ledger: CreditLedger | None, event: Event) -> CreditLedger:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if isinstance(event, AccountOpened):
        return CreditLedger(balance=totals.evolve(None, event))
    if isinstance(event, LedgerSnapshot):
        return _restored(event)
    assert ledger is not None, "an account's first event is its opening"
    balance = totals.evolve(ledger.balance, event)
    match event:
        case CreditsHeld():
            day, made = _day_of(ledger, event.meta.at)
            return CreditLedger(
                balance=balance,
                grants=moved(ledger.grants, event.slices, free=-1, held=1),
                holds=ledger.holds.set(
                    event.hold_id,
                    Hold(
                        id=event.hold_id,
                        task_id=event.task_id,
                        group_id=event.group_id,
                        amount=event.amount,
                        slices=event.slices,
                        held_at=event.meta.at,
                        slots=event.slots,
                    ),
                ),
                source_refs=ledger.source_refs,
                day=day,
                day_count=made + event.tasks,
            )
        case CreditsCaptured():
            grants = moved(ledger.grants, event.slices, free=0, held=-1)
            if event.released_slices:
                grants = moved(grants, event.released_slices, free=1, held=-1)
            return replace(
                ledger, balance=balance, grants=grants, holds=ledger.holds.delete(event.hold_id)
            )
        case CreditsReleased():
            return replace(
                ledger,
                balance=balance,
                grants=moved(ledger.grants, event.slices, free=1, held=-1),
                holds=ledger.holds.delete(event.hold_id),
            )
        case CreditsGranted():
            return replace(
                ledger,
                balance=balance,
                grants=with_grant(ledger.grants, event),
                source_refs=ledger.source_refs.set(event.source_ref, None),
            )
        case _:
            raise TypeError(f"{type(event).__name__} is not an event of a ledger")


def snapshot(ledger: CreditLedger, meta: Metadata) -> LedgerSnapshot:
    """The whole state at its version; `evolve(None, snapshot)` gives it back."""
    balance = ledger.balance
    return LedgerSnapshot(
        originator_id=ledger.id,
        originator_version=ledger.version,
        meta=meta,
        plan=balance.plan,
        name=balance.name,
        status=balance.status,
        granted=balance.granted,
        captured=balance.captured,
        opened_at=balance.opened_at,
        updated_at=balance.updated_at,
        grants=ledger.grants,
        holds=tuple(ledger.holds.values()),
        source_refs=tuple(ledger.source_refs),
        day=ledger.day,
        day_count=ledger.day_count,
    )


def _restored(event: LedgerSnapshot) -> CreditLedger:
    held = sum(hold.amount for hold in event.holds)
    return CreditLedger(
        balance=Balance(
            id=event.originator_id,
            version=event.originator_version,
            plan=event.plan,
            status=event.status,
            opened_at=event.opened_at,
            updated_at=event.updated_at,
            name=event.name,
            granted=event.granted,
            available=event.granted - event.captured - held,
            held=held,
            captured=event.captured,
            active=sum(hold.slots for hold in event.holds),
        ),
        grants=event.grants,
        holds=Map({hold.id: hold for hold in event.holds}),
        source_refs=Map(dict.fromkeys(event.source_refs)),
        day=event.day,
        day_count=event.day_count,
    )
