"""The facts of one account's credits; their topics, versions and fields are kept for ever."""

from __future__ import annotations

from datetime import date
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.event import Count, Credits, Event, Name, NetCredits, Text, Timestamp, Version

GrantKind = Literal["paid", "promotional", "trial", "adjustment"]
OVERDRAFT = UUID(int=0)
"""The `grant_id` of a slice that no grant covers: credits that the account owes."""


class Slice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a hold: `amount` credits out of one grant."""

    grant_id: UUID
    amount: Credits


class AccountOpened(Event, frozen=True, kw_only=True):
    """An account exists from here on, with a plan and no credits."""

    TOPIC: ClassVar[str] = "account.opened"

    plan: Name
    name: Name | None = None
    reason: Text = ""


class PlanChanged(Event, frozen=True, kw_only=True):
    """Limits, trials and overdraft are those of another plan from here on."""

    TOPIC: ClassVar[str] = "account.plan_changed"

    plan: Name
    reason: Text


class AccountFrozen(Event, frozen=True, kw_only=True):
    """No new holds; what is held may still be settled."""

    TOPIC: ClassVar[str] = "account.frozen"

    reason: Text


class AccountUnfrozen(Event, frozen=True, kw_only=True):
    """The account may hold again."""

    TOPIC: ClassVar[str] = "account.unfrozen"

    reason: Text


class AccountClosed(Event, frozen=True, kw_only=True):
    """The end of the account; what it had left was voided before."""

    TOPIC: ClassVar[str] = "account.closed"

    reason: Text


class CreditsGranted(Event, frozen=True, kw_only=True):
    """Credits came in. `source_ref` names the payment or promotion, once per account.

    They can be held from `effective_at` until `expires_at`. `rolled_over` of them came from the
    grant before, where they expired; `rolls_over` is that grant, which ended with this one: what
    was held or charged of it goes as voided when it comes back. With `apart` a stream of its own
    remembers `source_ref`.
    """

    TOPIC: ClassVar[str] = "credits.granted"

    grant_id: UUID
    kind: GrantKind
    amount: Credits
    priority: Count
    source_ref: Name
    reason: Text = ""
    effective_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    rolled_over: Credits = 0
    apart: bool = False
    rolls_over: UUID | None = None


class CreditsMatured(Event, frozen=True, kw_only=True):
    """A grant became effective: its credits can be held from here on.

    Where several did at one time, `grant_id` is the first of them, `amount` is that of all, and the
    slices name each.
    """

    TOPIC: ClassVar[str] = "credits.matured"

    grant_id: UUID
    amount: Credits
    slices: tuple[Slice, ...] = ()


class CreditsHeld(Event, frozen=True, kw_only=True):
    """Credits were set aside for a task or a group, out of these slices in burn order.

    A group's hold counts `tasks` toward the day's and `slots` toward the active ones. A free trial
    holds nothing. Past `expires_at` the hold is given back by itself. `task_type` is what the
    credits are for, where that is one type; every later fact of the hold repeats it.
    """

    TOPIC: ClassVar[str] = "credits.held"

    hold_id: UUID
    amount: Credits
    task_id: UUID | None = None
    slices: tuple[Slice, ...] = ()
    group_id: UUID | None = None
    tasks: Count = 1
    slots: Count = 1
    trial: bool = False
    expires_at: Timestamp | None = None
    price_version: Name | None = None
    task_type: Name | None = None
    reason: Text = ""


class HoldExtended(Event, frozen=True, kw_only=True):
    """An open hold took `added` credits more, out of these slices, or may stay open longer."""

    TOPIC: ClassVar[str] = "credits.hold_extended"

    hold_id: UUID
    added: Credits = 0
    slices: tuple[Slice, ...] = ()
    expires_at: Timestamp | None = None
    task_type: Name | None = None
    reason: Text = ""


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
    task_type: Name | None = None
    reason: Text = ""


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
    trial: bool = False
    task_type: Name | None = None


class HoldExpired(Event, frozen=True, kw_only=True):
    """A hold came to its `expires_at`: all of it went back to the grants it came from."""

    TOPIC: ClassVar[str] = "credits.hold_expired"

    hold_id: UUID
    amount: Credits
    task_id: UUID | None = None
    slices: tuple[Slice, ...] = ()
    group_id: UUID | None = None
    slots: Count = 1
    trial: bool = False
    task_type: Name | None = None


class CreditsExpired(Event, frozen=True, kw_only=True):
    """A grant came to its `expires_at`, or its credits came back after it, and are gone.

    What the account owed was paid out of it first: the slices are `amount` and `repaid` together.
    """

    TOPIC: ClassVar[str] = "credits.expired"

    amount: Credits
    slices: tuple[Slice, ...]
    repaid: Credits = 0


class CreditsVoided(Event, frozen=True, kw_only=True):
    """Credits were taken back: of one grant, or out of these slices in burn order.

    `pending` ones were not effective yet. What is held of a voided grant is voided when it comes
    back. What the account owed was paid first: the slices are `amount` and `repaid` together.
    """

    TOPIC: ClassVar[str] = "credits.voided"

    amount: Credits
    slices: tuple[Slice, ...] = ()
    grant_id: UUID | None = None
    repaid: Credits = 0
    pending: bool = False
    source_ref: Name | None = None
    apart: bool = False
    reason: Text = ""


class CreditsLow(Event, frozen=True, kw_only=True):
    """Fewer than `threshold` credits are available, of which the owner is to be told."""

    TOPIC: ClassVar[str] = "credits.low"

    available: NetCredits
    threshold: Credits


class CreditsExhausted(Event, frozen=True, kw_only=True):
    """Nothing is available any more, of which the owner is to be told."""

    TOPIC: ClassVar[str] = "credits.exhausted"

    available: NetCredits


class Grant(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One grant that still has credits: `remaining` is free, `held` is inside open holds.

    While it is `pending` (not effective yet) nothing of it can be held.
    """

    id: UUID
    kind: GrantKind
    priority: Count
    order: Version
    remaining: Credits
    held: Credits
    effective_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    pending: bool = False
    voided: bool = False


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open hold of one task or one group; a settled one leaves the state."""

    id: UUID
    amount: Credits
    slices: tuple[Slice, ...]
    held_at: Timestamp
    task_id: UUID | None = None
    group_id: UUID | None = None
    slots: Count = 1
    trial: bool = False
    expires_at: Timestamp | None = None
    task_type: Name | None = None


class CreditsRefunded(Event, frozen=True, kw_only=True):
    """Charged credits went back to the very grants that they came from.

    `grants` are those of them that had nothing left, as they come back: with no credits yet.
    """

    TOPIC: ClassVar[str] = "credits.refunded"

    hold_id: UUID
    amount: Credits
    slices: tuple[Slice, ...]
    captured_at: Timestamp
    reason: Text
    task_id: UUID | None = None
    group_id: UUID | None = None
    grants: tuple[Grant, ...] = ()
    task_type: Name | None = None


class Refunded(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was given back of one capture so far, and when it was charged."""

    hold_id: UUID
    amount: Credits
    captured_at: Timestamp


class _Whole(Event, frozen=True, kw_only=True):
    """Everything that a ledger is at one version."""

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
    expired: Credits = 0
    voided: Credits = 0
    refunded: Credits = 0
    overdrawn: NetCredits = 0
    trials: Count = 0
    refunds: tuple[Refunded, ...] = ()
    told_at: Credits | None = None
    told_exhausted: bool = False
    period: Name | None = None
    voided_grants: tuple[UUID, ...] = ()


class LedgerSnapshot(_Whole, frozen=True, kw_only=True):
    """A whole ledger at one version, kept beside the log so that loading need not fold it all."""

    TOPIC: ClassVar[str] = "ledger.snapshot"


class PeriodClosed(_Whole, frozen=True, kw_only=True):
    """The books of `period` were closed, with the balances carried on; a ledger loads from here."""

    TOPIC: ClassVar[str] = "books.closed"

    reason: Text = ""


LedgerEvent = (
    AccountOpened
    | PlanChanged
    | AccountFrozen
    | AccountUnfrozen
    | AccountClosed
    | CreditsGranted
    | CreditsMatured
    | CreditsHeld
    | HoldExtended
    | CreditsCaptured
    | CreditsReleased
    | HoldExpired
    | CreditsExpired
    | CreditsVoided
    | CreditsRefunded
    | CreditsLow
    | CreditsExhausted
    | PeriodClosed
)
