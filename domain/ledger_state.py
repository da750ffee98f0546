"""The state of a ledger: its grants and open holds, and how each event changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any, get_args
from uuid import UUID

import msgspec
from immutables import Map
from msgspec.structs import asdict, replace

from domain import balance as totals
from domain.balance import AccountStatus, Balance
from domain.event import Event, Metadata
from domain.grants import Grants, due_at, gone_by, in_burn_order, moved, overdraft_in, with_grant
from domain.ledger_events import (
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    CreditsCaptured,
    CreditsExhausted,
    CreditsExpired,
    CreditsGranted,
    CreditsHeld,
    CreditsLow,
    CreditsMatured,
    CreditsRefunded,
    CreditsReleased,
    CreditsVoided,
    Grant,
    Hold,
    HoldExpired,
    HoldExtended,
    LedgerEvent,
    LedgerSnapshot,
    PeriodClosed,
    PlanChanged,
    Refunded,
)


class CreditLedger(msgspec.Struct, frozen=True, kw_only=True):
    """State of an account. `grants` are those with credits left; `holds` are the open ones.

    Open holds are the account's active tasks; `expiring` are those with an end of their own.
    `day_count` counts the tasks that were held for in `day`, the latest UTC day with a hold, so a
    clock set back does not begin a day anew. `overdrawn` is what no grant covers of what is held or
    charged; `voided` are the grants that were taken back or followed. `refunds` is what was given
    back of each capture of the last `REFUND_DAYS_MAX` days. `told_at` is the threshold that the
    owner was told of falling below, `told_exhausted` whether of having nothing left; `period` the
    last one that was closed. `held_slices` counts the slices of all open holds.
    """

    balance: Balance
    grants: Grants = ()
    holds: Map[UUID, Hold] = Map()
    expiring: Map[UUID, datetime] = Map()
    source_refs: Map[str, None] = Map()
    day: date = date.min
    day_count: int = 0
    overdrawn: int = 0
    refunds: Map[UUID, Refunded] = Map()
    told_at: int | None = None
    told_exhausted: bool = False
    period: str | None = None
    voided: Map[UUID, None] = Map()
    held_slices: int = 0

    @property
    def id(self) -> UUID:
        return self.balance.id

    @property
    def version(self) -> int:
        return self.balance.version

    @property
    def status(self) -> AccountStatus:
        return self.balance.status

    @property
    def settled(self) -> bool:
        """True when nothing is held and nothing is owed."""
        return not self.holds and self.balance.available >= 0

    @property
    def due_at(self) -> datetime | None:
        """When time changes the balance next; None when it does not."""
        if not self.dated:
            return None
        times = [at for at in map(due_at, self.grants) if at is not None]
        return min([*times, *self.expiring.values()], default=None)

    @property
    def dated(self) -> bool:
        """Whether time can change the balance at all, as things stand; asked at each command."""
        if self.expiring:
            return True
        for grant in self.grants:
            if grant.expires_at is not None or grant.pending or grant.voided:
                return True
        return False


def evolve(ledger: CreditLedger | None, event: Event) -> CreditLedger:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    fold = _FOLDS.get(type(event))
    if fold is None:
        return _begun(event)
    assert ledger is not None, "an account's first event is its opening"
    balance = totals.evolve(ledger.balance, event)
    folded = replace(ledger, balance=balance, **fold(ledger, event))
    if folded.told_at is None and not folded.told_exhausted:
        return folded
    return _heard(folded, event.meta.at)


def _begun(event: Event) -> CreditLedger:
    """The state that an event gives by itself."""
    if isinstance(event, AccountOpened):
        return CreditLedger(balance=totals.evolve(None, event))
    if isinstance(event, LedgerSnapshot | PeriodClosed):
        return _restored(event)
    raise TypeError(f"{type(event).__name__} is not an event of a ledger")


def evolved(ledger: CreditLedger, events: Iterable[Event]) -> CreditLedger:
    """The ledger after those of the events that are its own."""
    for event in events:
        if event.originator_id == ledger.id:
            ledger = evolve(ledger, event)
    return ledger


def day_of(ledger: CreditLedger, at: datetime) -> tuple[date, int]:
    """The UTC day that a hold at `at` counts in, and the tasks held for in it so far."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    day = max(utc.date(), ledger.day)
    return day, ledger.day_count if day == ledger.day else 0


Fields = dict[str, Any]
_UNCHANGED: Fields = {}


def _heard(ledger: CreditLedger, at: datetime) -> CreditLedger:
    """What the owner was told of no longer holds once there is enough again."""
    available = _lasting(ledger, at)
    if ledger.told_at is not None and available >= ledger.told_at:
        ledger = replace(ledger, told_at=None)
    if ledger.told_exhausted and available > 0:
        ledger = replace(ledger, told_exhausted=False)
    return ledger


def _lasting(ledger: CreditLedger, at: datetime) -> int:
    """What is available without what came back to grants that are gone, to go in a moment."""
    gone = gone_by(ledger.grants, at)
    return ledger.balance.available - max(0, gone - max(0, ledger.overdrawn))


def _granted(ledger: CreditLedger, event: CreditsGranted) -> Fields:
    grants, voided = ledger.grants, ledger.voided
    if event.rolls_over is not None:
        grants = _with(grants, event.rolls_over, voided=True)
        voided = voided.set(event.rolls_over, None)
    return {
        "grants": with_grant(grants, event),
        "source_refs": _references(ledger, event),
        "voided": voided,
    }


def _references(ledger: CreditLedger, event: CreditsGranted | CreditsVoided) -> Map[str, None]:
    """Those that the ledger has to remember by itself."""
    if event.apart or event.source_ref is None:
        return ledger.source_refs
    return ledger.source_refs.set(event.source_ref, None)


def _matured(ledger: CreditLedger, event: CreditsMatured) -> Fields:
    if not event.slices:
        return {"grants": _with(ledger.grants, event.grant_id, pending=False)}
    matured = {piece.grant_id for piece in event.slices}
    grants = (replace(g, pending=False) if g.id in matured else g for g in ledger.grants)
    return {"grants": tuple(grants)}


def _with(grants: Grants, grant_id: UUID, **fields: bool) -> Grants:
    """The grants with one of them changed; it leaves if it has nothing left."""
    changed = (replace(g, **fields) if g.id == grant_id else g for g in grants)
    return tuple(grant for grant in changed if grant.remaining or grant.held)


def _held(ledger: CreditLedger, event: CreditsHeld) -> Fields:
    day, made = day_of(ledger, event.meta.at)
    hold = Hold(
        id=event.hold_id,
        task_id=event.task_id,
        group_id=event.group_id,
        amount=event.amount,
        slices=event.slices,
        held_at=event.meta.at,
        slots=event.slots,
        trial=event.trial,
        expires_at=event.expires_at,
        task_type=event.task_type,
    )
    fields = {
        "grants": moved(ledger.grants, event.slices, free=-1, held=1),
        "holds": ledger.holds.set(hold.id, hold),
        "overdrawn": ledger.overdrawn + overdraft_in(event.slices),
        "day": day,
        "day_count": made + event.tasks,
        "held_slices": ledger.held_slices + len(event.slices),
    }
    if event.expires_at is not None:
        fields["expiring"] = ledger.expiring.set(hold.id, event.expires_at)
    return fields


def _extended(ledger: CreditLedger, event: HoldExtended) -> Fields:
    before = ledger.holds[event.hold_id]
    hold = replace(
        before,
        amount=before.amount + event.added,
        slices=(*before.slices, *event.slices),
        expires_at=event.expires_at,
    )
    fields = {
        "grants": moved(ledger.grants, event.slices, free=-1, held=1),
        "holds": ledger.holds.set(hold.id, hold),
        "overdrawn": ledger.overdrawn + overdraft_in(event.slices),
        "held_slices": ledger.held_slices + len(event.slices),
    }
    if event.expires_at is not None:
        fields["expiring"] = ledger.expiring.set(hold.id, event.expires_at)
    return fields


def _captured(ledger: CreditLedger, event: CreditsCaptured) -> Fields:
    grants = moved(ledger.grants, event.slices, free=0, held=-1)
    if event.released_slices:
        grants = moved(grants, event.released_slices, free=1, held=-1)
    return {
        **_without_hold(ledger, event.hold_id),
        "grants": grants,
        "overdrawn": ledger.overdrawn - overdraft_in(event.released_slices),
    }


def _released(ledger: CreditLedger, event: CreditsReleased | HoldExpired) -> Fields:
    return {
        **_without_hold(ledger, event.hold_id),
        "grants": moved(ledger.grants, event.slices, free=1, held=-1),
        "overdrawn": ledger.overdrawn - overdraft_in(event.slices),
    }


def _without_hold(ledger: CreditLedger, hold_id: UUID) -> Fields:
    fields: Fields = {
        "holds": ledger.holds.delete(hold_id),
        "held_slices": ledger.held_slices - len(ledger.holds[hold_id].slices),
    }
    if hold_id in ledger.expiring:
        fields["expiring"] = ledger.expiring.delete(hold_id)
    return fields


def _expired(ledger: CreditLedger, event: CreditsExpired) -> Fields:
    return {
        "grants": moved(ledger.grants, event.slices, free=-1, held=0),
        "overdrawn": ledger.overdrawn - event.repaid,
    }


def _voided(ledger: CreditLedger, event: CreditsVoided) -> Fields:
    grants = ledger.grants
    if event.grant_id is not None:
        grants = _with(grants, event.grant_id, voided=True)
    return {
        "voided": ledger.voided.update(_voided_grants(event)),
        "grants": moved(grants, event.slices, free=-1, held=0),
        "overdrawn": ledger.overdrawn - event.repaid + overdraft_in(event.slices),
        "source_refs": _references(ledger, event),
    }


def _voided_grants(event: CreditsVoided) -> dict[UUID, None]:
    return {} if event.grant_id is None else {event.grant_id: None}


def _refunded(ledger: CreditLedger, event: CreditsRefunded) -> Fields:
    known = {grant.id for grant in ledger.grants}
    back = {grant.id: grant for grant in event.grants if grant.id not in known}
    grants = in_burn_order((*ledger.grants, *back.values()))
    return {
        "grants": moved(grants, event.slices, free=1, held=0),
        "overdrawn": ledger.overdrawn - overdraft_in(event.slices),
        "refunds": ledger.refunds.set(event.hold_id, _refund(ledger, event)),
    }


def _refund(ledger: CreditLedger, event: CreditsRefunded) -> Refunded:
    before = ledger.refunds.get(event.hold_id)
    return Refunded(
        hold_id=event.hold_id,
        amount=event.amount + (before.amount if before else 0),
        captured_at=event.captured_at,
    )


def _told_low(_: CreditLedger, event: CreditsLow) -> Fields:
    return {"told_at": event.threshold}


def _told_exhausted(_: CreditLedger, __: CreditsExhausted) -> Fields:
    return {"told_exhausted": True}


def _nothing(_: CreditLedger, __: Event) -> Fields:
    return _UNCHANGED


_FOLDS: Mapping[type[Event], Callable[[CreditLedger, Any], Fields]] = MappingProxyType(
    {
        PlanChanged: _nothing,
        AccountFrozen: _nothing,
        AccountUnfrozen: _nothing,
        AccountClosed: _nothing,
        CreditsGranted: _granted,
        CreditsMatured: _matured,
        CreditsHeld: _held,
        HoldExtended: _extended,
        CreditsCaptured: _captured,
        CreditsReleased: _released,
        HoldExpired: _released,
        CreditsExpired: _expired,
        CreditsVoided: _voided,
        CreditsRefunded: _refunded,
        CreditsLow: _told_low,
        CreditsExhausted: _told_exhausted,
    }
)
assert {AccountOpened, PeriodClosed, *_FOLDS} == set(get_args(LedgerEvent)), "each has its fold"


def whole(ledger: CreditLedger) -> Fields:
    """Every field of a snapshot and of a closed period, the event's own ones aside."""
    balance = asdict(ledger.balance)
    for name in ("id", "version", "available", "held", "active", "pending"):
        del balance[name]
    return {
        **balance,
        "grants": ledger.grants,
        "holds": tuple(ledger.holds.values()),
        "source_refs": tuple(ledger.source_refs),
        "day": ledger.day,
        "day_count": ledger.day_count,
        "overdrawn": ledger.overdrawn,
        "refunds": tuple(ledger.refunds.values()),
        "told_at": ledger.told_at,
        "told_exhausted": ledger.told_exhausted,
        "period": ledger.period,
        "voided_grants": tuple(ledger.voided),
    }


def snapshot(ledger: CreditLedger, meta: Metadata) -> LedgerSnapshot:
    """The whole state at its version; `evolve(None, snapshot)` gives it back."""
    return LedgerSnapshot(
        originator_id=ledger.id, originator_version=ledger.version, meta=meta, **whole(ledger)
    )


def _restored(event: LedgerSnapshot | PeriodClosed) -> CreditLedger:
    return CreditLedger(
        balance=_restored_balance(event),
        grants=event.grants,
        holds=Map({hold.id: hold for hold in event.holds}),
        expiring=Map(dict(_expiring(event.holds))),
        source_refs=Map(dict.fromkeys(event.source_refs)),
        day=event.day,
        day_count=event.day_count,
        overdrawn=event.overdrawn,
        refunds=Map({refund.hold_id: refund for refund in event.refunds}),
        told_at=event.told_at,
        told_exhausted=event.told_exhausted,
        period=event.period,
        voided=Map(dict.fromkeys(event.voided_grants)),
        held_slices=sum(len(hold.slices) for hold in event.holds),
    )


def _expiring(holds: tuple[Hold, ...]) -> Iterator[tuple[UUID, datetime]]:
    for hold in holds:
        if hold.expires_at is not None:
            yield hold.id, hold.expires_at


def _restored_balance(event: LedgerSnapshot | PeriodClosed) -> Balance:
    held = sum(hold.amount for hold in event.holds)
    pending = _pending(event.grants)
    gone = event.captured + event.expired + event.voided
    return Balance(
        id=event.originator_id,
        version=event.originator_version,
        plan=event.plan,
        status=event.status,
        opened_at=event.opened_at,
        updated_at=event.updated_at,
        name=event.name,
        granted=event.granted,
        available=event.granted - gone - held - pending,
        held=held,
        captured=event.captured,
        active=sum(hold.slots for hold in event.holds),
        pending=pending,
        expired=event.expired,
        voided=event.voided,
        refunded=event.refunded,
        trials=event.trials,
    )


def _pending(grants: tuple[Grant, ...]) -> int:
    return sum(grant.remaining for grant in grants if grant.pending)
