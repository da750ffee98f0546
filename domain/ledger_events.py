"""The facts of one account's credits; their topics, versions and fields are kept for ever."""

from __future__ import annotations

from datetime import date
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.event import Count, Credits, Event, Name, Text, Timestamp, Version

GrantKind = Literal["paid", "promotional", "trial", "adjustment"]


class Slice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a hold: `amount` credits out of one grant."""

    grant_id: UUID
    amount: Credits


class AccountOpened(Event, frozen=True, kw_only=True):
    """An account exists from here on, with a plan and no credits."""

    TOPIC: ClassVar[str] = "account.opened"

    plan: Name
    name: Name | None = None


class CreditsGranted(Event, frozen=True, kw_only=True):
    """Credits came in. `source_ref` names the payment or promotion, once per account."""

    TOPIC: ClassVar[str] = "credits.granted"

    grant_id: UUID
    kind: GrantKind
    amount: Credits
    priority: Count
    source_ref: Name
    reason: Text = ""


class CreditsHeld(Event, frozen=True, kw_only=True):
    """Credits were set aside for a task, out of these slices in burn order."""

    TOPIC: ClassVar[str] = "credits.held"

    hold_id: UUID
    task_id: UUID
    amount: Credits
    slices: tuple[Slice, ...] = ()


class CreditsCaptured(Event, frozen=True, kw_only=True):
    """A hold ended: `amount` was charged, `released` went back to the grants it came from."""

    TOPIC: ClassVar[str] = "credits.captured"

    hold_id: UUID
    task_id: UUID
    amount: Credits
    slices: tuple[Slice, ...] = ()
    released: Credits = 0
    released_slices: tuple[Slice, ...] = ()


class CreditsReleased(Event, frozen=True, kw_only=True):
    """A hold ended: all of it went back to the grants it came from."""

    TOPIC: ClassVar[str] = "credits.released"

    hold_id: UUID
    task_id: UUID
    amount: Credits
    slices: tuple[Slice, ...] = ()
    reason: Text = ""


LedgerEvent = AccountOpened | CreditsGranted | CreditsHeld | CreditsCaptured | CreditsReleased


class Grant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One grant that still has credits: `remaining` is free, `held` is inside open holds."""

    id: UUID
    kind: GrantKind
    priority: Count
    order: Version
    remaining: Credits
    held: Credits = 0


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """An open hold; a settled one leaves the state."""

    id: UUID
    task_id: UUID
    amount: Credits
    slices: tuple[Slice, ...]
    held_at: Timestamp


class LedgerSnapshot(Event, frozen=True, kw_only=True):
    """A whole ledger at one version, kept beside the log so that loading need not fold it all."""

    TOPIC: ClassVar[str] = "ledger.snapshot"

    plan: Name
    name: Name | None
    status: Literal["open", "frozen", "closed"]
    granted: Credits
    captured: Credits
    opened_at: Timestamp
    updated_at: Timestamp
    grants: tuple[Grant, ...]
    holds: tuple[Hold, ...]
    source_refs: tuple[Name, ...]
    day: date
    day_count: Count
