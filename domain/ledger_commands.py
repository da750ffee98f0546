"""What can be asked of an account's ledger: by its owner's tasks, by operators, and by time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

import msgspec

from domain.ledger_events import CreditsCaptured, CreditsGranted, GrantKind
from domain.plan import Plan

GRANT_PRIORITY_DEFAULT = 100
_NO_GRANTS: Mapping[UUID, CreditsGranted] = MappingProxyType({})


class OpenAccount(msgspec.Struct, frozen=True, kw_only=True):
    account_id: UUID
    plan: str
    name: str | None = None
    reason: str = ""


class ChangePlan(msgspec.Struct, frozen=True, kw_only=True):
    plan: str
    reason: str = ""


class FreezeAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Refuse new holds; what is held may still be settled."""

    reason: str


class UnfreezeAccount(msgspec.Struct, frozen=True, kw_only=True):
    reason: str


class CloseAccount(msgspec.Struct, frozen=True, kw_only=True):
    """End the account and void what it has left. Nothing may be held or owed."""

    reason: str


class GrantCredits(msgspec.Struct, frozen=True, kw_only=True):
    """The same `source_ref` twice is one grant. `apart`: a stream of its own remembers it.

    `rolls_over` names a grant that ends with this one: its free credits expire, and up to
    `rollover_max` of them are added to the new grant. What is held or was charged of it is voided
    when it comes back. One that is not effective yet goes on.
    """

    grant_id: UUID
    kind: GrantKind
    amount: int
    source_ref: str
    priority: int = GRANT_PRIORITY_DEFAULT
    reason: str = ""
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    rolls_over: UUID | None = None
    rollover_max: int = 0
    apart: bool = False


class VoidGrant(msgspec.Struct, frozen=True, kw_only=True):
    """Take back what is free of a grant, and what is held of it when it comes back."""

    grant_id: UUID
    reason: str


class AdjustCredits(msgspec.Struct, frozen=True, kw_only=True):
    """Correct the balance up or down by `amount`, once per `source_ref`; `apart` as of a grant."""

    adjustment_id: UUID
    amount: int
    source_ref: str
    reason: str
    apart: bool = False


class HoldCredits(msgspec.Struct, frozen=True, kw_only=True):
    """For one task, or for a group of `tasks` of which `slots` may be active at one time.

    `plan` gives the limits that are checked with the balance, and the free trials: with
    `may_be_trial` the hold takes nothing while one is left. Past `expires_at` the hold is given
    back by itself.
    """

    hold_id: UUID
    amount: int
    plan: Plan
    task_id: UUID | None = None
    group_id: UUID | None = None
    tasks: int = 1
    slots: int = 1
    may_be_trial: bool = False
    expires_at: datetime | None = None
    price_version: str | None = None
    task_type: str | None = None
    reason: str = ""


class ExtendHold(msgspec.Struct, frozen=True, kw_only=True):
    """Hold `added` credits more, or until later, or both."""

    hold_id: UUID
    plan: Plan
    added: int = 0
    expires_at: datetime | None = None
    reason: str = ""
    outside: bool = False


class CaptureHold(msgspec.Struct, frozen=True, kw_only=True):
    """Charge `amount` of the hold (None: all of it); the rest goes back.

    Who asks from `outside` of a task or a group may not settle their holds.
    """

    hold_id: UUID
    amount: int | None
    reason: str = ""
    outside: bool = False


class ReleaseHold(msgspec.Struct, frozen=True, kw_only=True):
    hold_id: UUID
    reason: str = ""
    outside: bool = False


class RefundCapture(msgspec.Struct, frozen=True, kw_only=True):
    """Give back `amount` of what `capture` charged, its last credits first; None: all that is left.

    `grants` are the events by which the capture's grants came in, for those with nothing left.
    """

    capture: CreditsCaptured
    amount: int | None
    reason: str
    grants: Mapping[UUID, CreditsGranted] = _NO_GRANTS


class SettleDue(msgspec.Struct, frozen=True, kw_only=True):
    """Do what time has brought: grants mature and expire, holds expire. Quiet when nothing is.

    With `events_max`, what comes after the moment that brought as many events is left for later.
    """

    events_max: int | None = None


class CloseBooks(msgspec.Struct, frozen=True, kw_only=True):
    """Carry the balances on into the next period; `period` (such as `2026-11`) only grows."""

    period: str
    reason: str = ""


LedgerCommand = (
    OpenAccount
    | ChangePlan
    | FreezeAccount
    | UnfreezeAccount
    | CloseAccount
    | GrantCredits
    | VoidGrant
    | AdjustCredits
    | HoldCredits
    | ExtendHold
    | CaptureHold
    | ReleaseHold
    | RefundCapture
    | SettleDue
    | CloseBooks
)
