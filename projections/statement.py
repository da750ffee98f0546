"""Behind: each account's statement, one line for each movement of its credits.

The row of an account is its newest line, and every version of it is kept: so a line needs nothing
but the line before it for its balance, and a rebuild needs nothing but the log. Line (account_id,
version) is event (stream, version) of the log.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from domain.event import Event
from domain.ledger_events import (
    CreditsCaptured,
    CreditsExpired,
    CreditsGranted,
    CreditsHeld,
    CreditsMatured,
    CreditsRefunded,
    CreditsReleased,
    CreditsVoided,
    HoldExpired,
    HoldExtended,
)
from projections.projection import Projection

NAME = "statement"
VERSION = 1
LineKind = Literal[
    "granted",
    "matured",
    "held",
    "extended",
    "captured",
    "released",
    "hold_expired",
    "expired",
    "voided",
    "refunded",
]


class Line(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event's effect on one account's credits.

    `amount` is what was granted, held, charged, given back or lost. The changes are signed and lead
    to `available` and `held`, the balance after the event; a capture of a part gives the rest back
    in the same line. Credits granted for later become available when they have matured. A hold
    counts as `tasks` of the day.
    """

    account_id: UUID
    version: int
    at: datetime
    kind: LineKind
    amount: int
    available_change: int
    held_change: int
    available: int
    held: int
    actor: str
    correlation_id: UUID
    task_id: UUID | None = None
    hold_id: UUID | None = None
    grant_id: UUID | None = None
    source_ref: str | None = None
    reason: str = ""
    group_id: UUID | None = None
    tasks: int = 1


class _Movement(NamedTuple):
    kind: LineKind
    amount: int
    available: int
    held: int


def evolve(line: Line | None, event: Event) -> Line:
    """The line that follows `line`; None is an account without movements."""
    movement = _movement(event)
    return Line(
        account_id=event.originator_id,
        version=event.originator_version,
        at=event.meta.at,
        kind=movement.kind,
        amount=movement.amount,
        available_change=movement.available,
        held_change=movement.held,
        available=(0 if line is None else line.available) + movement.available,
        held=(0 if line is None else line.held) + movement.held,
        actor=event.meta.actor,
        correlation_id=event.meta.correlation_id,
        task_id=getattr(event, "task_id", None),
        hold_id=getattr(event, "hold_id", None),
        grant_id=getattr(event, "grant_id", None),
        source_ref=getattr(event, "source_ref", None),
        reason=getattr(event, "reason", ""),
        group_id=getattr(event, "group_id", None),
        tasks=getattr(event, "tasks", 1),
    )


def _movement(event: Event) -> _Movement:
    match event:
        case CreditsGranted(amount=amount):
            later = event.effective_at is not None and event.effective_at > event.meta.at
            return _Movement("granted", amount, available=0 if later else amount, held=0)
        case CreditsMatured(amount=amount):
            return _Movement("matured", amount, available=amount, held=0)
        case CreditsHeld(amount=amount):
            return _Movement("held", amount, available=-amount, held=amount)
        case CreditsCaptured(amount=amount, released=released):
            return _Movement("captured", amount, available=released, held=-amount - released)
        case CreditsReleased(amount=amount):
            return _Movement("released", amount, available=amount, held=-amount)
        case _:
            return _seldom(event)


def _seldom(event: Event) -> _Movement:
    match event:
        case HoldExtended(added=added):
            return _Movement("extended", added, available=-added, held=added)
        case HoldExpired(amount=amount):
            return _Movement("hold_expired", amount, available=amount, held=-amount)
        case CreditsExpired(amount=amount):
            return _Movement("expired", amount, available=-amount, held=0)
        case CreditsVoided(amount=amount, pending=pending):
            return _Movement("voided", amount, available=0 if pending else -amount, held=0)
        case CreditsRefunded(amount=amount):
            return _Movement("refunded", amount, available=amount, held=0)
        case _:
            raise TypeError(f"{type(event).__name__} moves no credits")


STATEMENT = Projection(
    name=NAME,
    version=VERSION,
    row=Line,
    events=frozenset(
        {
            CreditsGranted,
            CreditsMatured,
            CreditsHeld,
            HoldExtended,
            CreditsCaptured,
            CreditsReleased,
            HoldExpired,
            CreditsExpired,
            CreditsVoided,
            CreditsRefunded,
        }
    ),
    evolve=evolve,
    every_version=True,
)
