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
    """Credits were set aside for a task or a group, out of these slices in burn order.

    A group's hold counts `tasks` toward the day's and `slots` toward the active ones.
    """

    TOPIC: ClassVar[str] = "credits.held"

    hold_id: UUID
    amount: Credits
    task_id: UUID | None = None
    slices: tuple[Slice, ...] = ()
    group_id: UUID | None = None
    tasks: Count = 1
    slots: Count = 1


class CreditsCaptured(Event, frozen=True, kw_only=True):
    """A hold ended: `amount` was charged, `released` went back to the grants it came from."""

    TOPIC: ClassVar[str] = "credits.captured"

    hold_id: UUID
    amount: Credits
    task_id: UUID | None = None
    slices: tuple[Slice, ...] = ()
    released: Credits = 0
    released_slices: tuple[Slice, ...] = ()
    group_id: UUID | None = None
    slots: Count = 1


class CreditsReleased(Event, frozen=True, kw_only=True):
    """A hold ended: all of it went back to the grants it came from."""

    TOPIC: ClassVar[str] = "credits.released"

    hold_id: UUID
    amount: Credits
    task_id: UUID | None = None
    slices: tuple[Slice, ...] = ()
    reason: Text = ""
    group_id: UUID | None = None
    slots: Count = 1


LedgerEvent = AccountOpened | CreditsGranted | CreditsHeld | CreditsCaptured | CreditsReleased


class Grant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One grant that still has credits: `remaining` is free, `held` is inside open holds."""

    id: UUID
    kind: GrantKind
    priority: Count
    order: Version
    remaining: Credits
    held: Credits = 0


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open hold of one task or one group; a settled one leaves the state."""

    id: UUID
    amount: Credits
    slices: tuple[Slice, ...]
    held_at: Timestamp
    task_id: UUID | None = None
    group_id: UUID | None = None
    slots: Count = 1


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
