"""An account's totals: kept inside the ledger, and the row of its inline read model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.event import Event
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
    HoldExpired,
    HoldExtended,
    PeriodClosed,
    PlanChanged,
)

AccountStatus = Literal["open", "frozen", "closed"]


class Balance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Credits of one account at one version.

    Always `granted = pending + available + held + captured + expired + voided` (I1). `available` is
    below zero by what is overdrawn. `captured` is what was charged less what was refunded. `active`
    counts the tasks that the open holds let be active: one each, or a group's `slots`; `trials` the
    free ones.
    """

    id: UUID
    version: int
    plan: str
    status: AccountStatus
    opened_at: datetime
    updated_at: datetime
    name: str | None = None
    granted: int = 0
    available: int = 0
    held: int = 0
    captured: int = 0
    active: int = 0
    pending: int = 0
    expired: int = 0
    voided: int = 0
    refunded: int = 0
    trials: int = 0


def evolve(balance: Balance | None, event: Event) -> Balance:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if isinstance(event, AccountOpened):
        return Balance(
            id=event.originator_id,
            version=event.originator_version,
            plan=event.plan,
            status="open",
            opened_at=event.meta.at,
            updated_at=event.meta.at,
            name=event.name,
        )
    assert balance is not None, "an account's first event is its opening"
    changes = _CHANGES.get(type(event))
    if changes is None:
        raise TypeError(f"{type(event).__name__} is not an event of a ledger")
    return replace(
        balance,
        version=event.originator_version,
        updated_at=event.meta.at,
        **changes(balance, event),
    )


Changes = dict[str, Any]


def _granted(balance: Balance, event: CreditsGranted) -> Changes:
    pending = event.effective_at is not None and event.effective_at > event.meta.at
    into = "pending" if pending else "available"
    return {
        "granted": balance.granted + event.amount,
        into: getattr(balance, into) + event.amount,
    }


def _matured(balance: Balance, event: CreditsMatured) -> Changes:
    return {
        "pending": balance.pending - event.amount,
        "available": balance.available + event.amount,
    }


def _held(balance: Balance, event: CreditsHeld) -> Changes:
    return {
        "available": balance.available - event.amount,
        "held": balance.held + event.amount,
        "active": balance.active + event.slots,
        "trials": balance.trials + event.trial,
    }


def _extended(balance: Balance, event: HoldExtended) -> Changes:
    return {"available": balance.available - event.added, "held": balance.held + event.added}


def _captured(balance: Balance, event: CreditsCaptured) -> Changes:
    return {
        "available": balance.available + event.released,
        "held": balance.held - event.amount - event.released,
        "captured": balance.captured + event.amount,
        "active": balance.active - event.slots,
    }


def _released(balance: Balance, event: CreditsReleased | HoldExpired) -> Changes:
    return {
        "available": balance.available + event.amount,
        "held": balance.held - event.amount,
        "active": balance.active - event.slots,
        "trials": balance.trials - event.trial,
    }


def _expired(balance: Balance, event: CreditsExpired) -> Changes:
    return {
        "available": balance.available - event.amount,
        "expired": balance.expired + event.amount,
    }


def _voided(balance: Balance, event: CreditsVoided) -> Changes:
    out_of = "pending" if event.pending else "available"
    return {
        out_of: getattr(balance, out_of) - event.amount,
        "voided": balance.voided + event.amount,
    }


def _refunded(balance: Balance, event: CreditsRefunded) -> Changes:
    return {
        "available": balance.available + event.amount,
        "captured": balance.captured - event.amount,
        "refunded": balance.refunded + event.amount,
    }


def _status(status: AccountStatus) -> Callable[[Balance, Event], Changes]:
    return lambda _, __: {"status": status}


def _plan(_: Balance, event: PlanChanged) -> Changes:
    return {"plan": event.plan}


def _nothing(_: Balance, __: Event) -> Changes:
    return {}


_CHANGES: Mapping[type[Event], Callable[[Balance, Any], Changes]] = MappingProxyType(
    {
        PlanChanged: _plan,
        AccountFrozen: _status("frozen"),
        AccountUnfrozen: _status("open"),
        AccountClosed: _status("closed"),
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
        CreditsLow: _nothing,
        CreditsExhausted: _nothing,
        PeriodClosed: _nothing,
    }
)
