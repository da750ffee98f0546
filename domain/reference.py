"""What a grant or an adjustment came under: used once per account, for ever.

Each reference is a stream of its own with one event, so that a ledger need not remember all that it
ever had: whether a reference was used is read, and guarded, like the state of any other stream. The
event says what was asked for, so that the same reference with other content is found out whatever
has become of the credits since.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from domain import ledger as ledgers
from domain.errors import ReferenceReused
from domain.event import Count, Credits, Event, Metadata, Name, NetCredits, Timestamp
from domain.ledger import (
    ACCOUNT,
    GRANT_PRIORITY_DEFAULT,
    AdjustCredits,
    CreditLedger,
    GrantCredits,
)
from domain.ledger_events import GrantKind
from domain.plan import Plan

_COMPARED = (
    *("kind", "amount", "priority", "effective_at", "expires_at", "rolls_over", "rollover_max"),
)
_REFERENCES = UUID("b1f4f3a0-6c1e-5a57-9b0e-7d2a1c7f5e11")


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for under a reference, its reason aside; an adjustment down is below zero."""

    kind: GrantKind
    amount: NetCredits
    priority: Count = GRANT_PRIORITY_DEFAULT
    effective_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    rolls_over: UUID | None = None
    rollover_max: Credits = 0


class ReferenceUsed(Event, frozen=True, kw_only=True):
    """Credits of the account were granted or adjusted under this reference, on these terms."""

    TOPIC: ClassVar[str] = "reference.used"

    account_id: UUID
    source_ref: Name
    terms: Terms | None = None


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A reference that was used; those of early events do not know on which terms."""

    id: UUID
    version: int
    account_id: UUID
    source_ref: str
    terms: Terms | None = None


def reference_id(account_id: UUID, source_ref: str) -> UUID:
    """The one stream of a reference, the same in every installation."""
    return uuid5(_REFERENCES, f"{account_id}:{source_ref}")


def decide(
    reference: Reference | None,
    ledger: CreditLedger,
    command: GrantCredits | AdjustCredits,
    meta: Metadata,
    plan: Plan | None = None,
) -> tuple[Event, ...]:
    """The ledger's events for `command`, with the reference used up; none where it was used.

    Raises what the ledger raises, in its order, and `ReferenceReused` last, for other terms. On the
    same terms a used reference is quiet as long as the account is not closed, whatever has become
    of the credits since.
    """
    terms = terms_of(command)
    if reference is not None:
        if terms == reference.terms:
            trigger = "adjust" if isinstance(command, AdjustCredits) else "grant"
            ACCOUNT.target(trigger, ledger.status)
            return ()
        known = ledger.source_refs.set(command.source_ref, None)
        ledger = replace(ledger, source_refs=known)
    decided = ledgers.decide(ledger, replace(command, apart=True), meta, plan)
    if not decided:
        _guard_same(reference, terms)
        return ()
    used = ReferenceUsed(
        originator_id=reference_id(ledger.id, command.source_ref),
        originator_version=1,
        meta=meta,
        account_id=ledger.id,
        source_ref=command.source_ref,
        terms=terms,
    )
    return (*decided, used)


def terms_of(command: GrantCredits | AdjustCredits) -> Terms:
    """An adjustment up is a grant of its kind."""
    if isinstance(command, AdjustCredits):
        return Terms(kind="adjustment", amount=command.amount)
    return Terms(**{name: getattr(command, name) for name in _COMPARED})


def _guard_same(reference: Reference | None, terms: Terms) -> None:
    if reference is None or reference.terms is None:
        return
    first = reference.terms
    differing = {
        name: getattr(first, name)
        for name in _COMPARED
        if getattr(first, name) != getattr(terms, name)
    }
    if differing:
        raise ReferenceReused(reference.source_ref, differing)


def evolve(_: Reference | None, event: Event) -> Reference:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if not isinstance(event, ReferenceUsed):
        raise TypeError(f"{type(event).__name__} is not an event of a reference")
    return Reference(
        id=event.originator_id,
        version=event.originator_version,
        account_id=event.account_id,
        source_ref=event.source_ref,
        terms=event.terms,
    )
