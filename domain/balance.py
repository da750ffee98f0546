"""An account's totals: kept inside the ledger, and the row of its inline read model."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.event import Event
from domain.ledger_events import (
    AccountOpened,
    CreditsCaptured,
    CreditsGranted,
    CreditsHeld,
    CreditsReleased,
)

AccountStatus = Literal["open", "frozen", "closed"]


class Balance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Credits of one account at one version; `granted = available + held + captured` always (I1).

    `active` counts the tasks that the open holds let be active: one each, or a group's `slots`.
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
    version = event.originator_version
    at = event.meta.at
    match event:
        case CreditsHeld(amount=amount, slots=slots):
            return replace(
                balance,
                version=version,
                updated_at=at,
                available=balance.available - amount,
                held=balance.held + amount,
                active=balance.active + slots,
            )
        case CreditsCaptured(amount=amount, released=released, slots=slots):
            return replace(
                balance,
                version=version,
                updated_at=at,
                available=balance.available + released,
                held=balance.held - amount - released,
                captured=balance.captured + amount,
                active=balance.active - slots,
            )
        case CreditsReleased(amount=amount, slots=slots):
            return replace(
                balance,
                version=version,
                updated_at=at,
                available=balance.available + amount,
                held=balance.held - amount,
                active=balance.active - slots,
            )
        case CreditsGranted(amount=amount):
            return replace(
                balance,
                version=version,
                updated_at=at,
                granted=balance.granted + amount,
                available=balance.available + amount,
            )
        case _:
            raise TypeError(f"{type(event).__name__} is not an event of a ledger")
