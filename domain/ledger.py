"""The credit ledger of one account: grants come in, holds set aside, captures charge, releases give back."""

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
from domain.ledger_events import (
    AccountOpened,
    CreditsCaptured,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
    Grant,
    GrantKind,
    Hold,
    LedgerEvent,
    LedgerSnapshot,
    Slice,
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
_BURN_RANK: dict[GrantKind, int] = {"trial": 0, "promotional": 1, "adjustment": 2, "paid": 3}


class CreditLedger(msgspec.Struct, frozen=True, kw_only=True):
    """State of an account. `grants` are those with credits left, in burn order; `holds` are the open ones.

    Open holds are the account's active tasks; `day` and `day_count` count the holds made in one UTC day.
    """

    balance: Balance
    grants: tuple[Grant, ...] = ()
    holds: Map[UUID, Hold] = Map()
    source_refs: Map[str, bool] = Map()
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
    """`plan` gives the limits that are checked with the balance."""

    hold_id: UUID
    task_id: UUID
    amount: int
    plan: Plan


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

    A hold is refused in this order: `NotFound`, `IllegalTransition`, `LimitReached` (active, then daily),
    `InsufficientCredits`.
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
    if command.hold_id in ledger.holds:
        return ()
    _guard_limits(ledger, command.plan, meta.at)
    if command.amount > ledger.balance.available:
        raise InsufficientCredits(command.amount, ledger.balance.available)
    return (
        CreditsHeld(
            originator_id=ledger.id,
            originator_version=ledger.version + 1,
            meta=meta,
            hold_id=command.hold_id,
            task_id=command.task_id,
            amount=command.amount,
            slices=_burn(ledger.grants, command.amount),
        ),
    )


def _guard_limits(ledger: CreditLedger, plan: Plan, at: datetime) -> None:
    if ledger.balance.active >= plan.active_tasks_max:
        raise LimitReached("active_tasks_max", plan.active_tasks_max, ACTIVE_RETRY_SECONDS)
    today = at.astimezone(UTC).date()
    if ledger.day == today and ledger.day_count >= plan.daily_tasks_max:
        tomorrow = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)
        wait = max(1, int((tomorrow - at).total_seconds()) + 1)
        raise LimitReached("daily_tasks_max", plan.daily_tasks_max, wait)


def _burn(grants: tuple[Grant, ...], amount: int) -> tuple[Slice, ...]:
    """Slices of `amount` credits from grants in burn order; the balance was checked to cover it."""
    slices: list[Slice] = []
    for grant in grants:
        if amount == 0:
            break
        if taken := min(amount, grant.remaining):
            slices.append(Slice(grant.id, taken))
            amount -= taken
    assert amount == 0, "grants cover the available balance"
    return tuple(slices)


def _hold_of(ledger: CreditLedger, hold_id: UUID, trigger: str) -> Hold:
    ACCOUNT.target(trigger, ledger.status)
    hold = ledger.holds.get(hold_id)
    if hold is None:
        raise HoldNotFound(hold_id)
    return hold


def _captured(ledger: CreditLedger, command: CaptureHold, meta: Metadata) -> CreditsCaptured:
    hold = _hold_of(ledger, command.hold_id, "capture")
    if not 0 <= command.amount <= hold.amount:
        raise CaptureExceedsHold(command.amount, hold.amount)
    taken, rest = _split(hold.slices, command.amount)
    return CreditsCaptured(
        originator_id=ledger.id,
        originator_version=ledger.version + 1,
        meta=meta,
        hold_id=hold.id,
        task_id=hold.task_id,
        amount=command.amount,
        slices=taken,
        released=hold.amount - command.amount,
        released_slices=rest,
    )


def _split(slices: tuple[Slice, ...], amount: int) -> tuple[tuple[Slice, ...], tuple[Slice, ...]]:
    """The first `amount` credits of the slices, and the rest."""
    taken: list[Slice] = []
    rest: list[Slice] = []
    for piece in slices:
        part = min(piece.amount, amount)
        amount -= part
        if part:
            taken.append(Slice(piece.grant_id, part))
        if piece.amount > part:
            rest.append(Slice(piece.grant_id, piece.amount - part))
    return tuple(taken), tuple(rest)


def _released(ledger: CreditLedger, command: ReleaseHold, meta: Metadata) -> CreditsReleased:
    hold = _hold_of(ledger, command.hold_id, "release")
    return CreditsReleased(
        originator_id=ledger.id,
        originator_version=ledger.version + 1,
        meta=meta,
        hold_id=hold.id,
        task_id=hold.task_id,
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
            today = event.meta.at.astimezone(UTC).date()
            return CreditLedger(
                balance=balance,
                grants=_moved(ledger.grants, event.slices, free=-1, held=1),
                holds=ledger.holds.set(
                    event.hold_id,
                    Hold(
                        id=event.hold_id,
                        task_id=event.task_id,
                        amount=event.amount,
                        slices=event.slices,
                        held_at=event.meta.at,
                    ),
                ),
                source_refs=ledger.source_refs,
                day=today,
                day_count=ledger.day_count + 1 if ledger.day == today else 1,
            )
        case CreditsCaptured():
            grants = _moved(ledger.grants, event.slices, free=0, held=-1)
            if event.released_slices:
                grants = _moved(grants, event.released_slices, free=1, held=-1)
            return replace(
                ledger, balance=balance, grants=grants, holds=ledger.holds.delete(event.hold_id)
            )
        case CreditsReleased():
            return replace(
                ledger,
                balance=balance,
                grants=_moved(ledger.grants, event.slices, free=1, held=-1),
                holds=ledger.holds.delete(event.hold_id),
            )
        case CreditsGranted():
            return replace(
                ledger,
                balance=balance,
                grants=_with_grant(ledger.grants, event),
                source_refs=ledger.source_refs.set(event.source_ref, True),
            )
        case _:
            raise TypeError(f"{type(event).__name__} is not an event of a ledger")


def _moved(
    grants: tuple[Grant, ...], slices: tuple[Slice, ...], *, free: int, held: int
) -> tuple[Grant, ...]:
    """Grants after the slices' amounts moved, `free` and `held` being the signs; empty ones leave."""
    amounts = {piece.grant_id: piece.amount for piece in slices}
    moved = []
    for grant in grants:
        amount = amounts.get(grant.id)
        if amount is not None:
            grant = replace(  # noqa: PLW2901 - the moved grant takes its place
                grant, remaining=grant.remaining + free * amount, held=grant.held + held * amount
            )
            if grant.remaining == 0 and grant.held == 0:
                continue
        moved.append(grant)
    return tuple(moved)


def _with_grant(grants: tuple[Grant, ...], event: CreditsGranted) -> tuple[Grant, ...]:
    grant = Grant(
        id=event.grant_id,
        kind=event.kind,
        priority=event.priority,
        order=event.originator_version,
        remaining=event.amount,
    )
    return tuple(sorted((*grants, grant), key=_burn_key))


def _burn_key(grant: Grant) -> tuple[int, int, int]:
    return grant.priority, _BURN_RANK[grant.kind], grant.order


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
            active=len(event.holds),
        ),
        grants=event.grants,
        holds=Map({hold.id: hold for hold in event.holds}),
        source_refs=Map({ref: True for ref in event.source_refs}),
        day=event.day,
        day_count=event.day_count,
    )
