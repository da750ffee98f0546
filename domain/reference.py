"""What a grant or an adjustment came under: used once per account, for ever.

Each reference is a stream of its own with one event, so that a ledger need not remember all that it
ever had: whether a reference was used is read, and guarded, like the state of any other stream.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from domain import ledger as ledgers
from domain.event import Event, Metadata, Name
from domain.ledger import AdjustCredits, CreditLedger, GrantCredits
from domain.plan import Plan

_REFERENCES = UUID("b1f4f3a0-6c1e-5a57-9b0e-7d2a1c7f5e11")


class ReferenceUsed(Event, frozen=True, kw_only=True):
    """Credits of the account were granted or adjusted under this reference."""

    TOPIC: ClassVar[str] = "reference.used"

    account_id: UUID
    source_ref: Name


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A reference that was used."""

    id: UUID
    version: int
    account_id: UUID
    source_ref: str


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

    Raises what the ledger raises, in its order: a used reference is quiet whatever has become of
    the balance since.
    """
    if reference is not None:
        known = ledger.source_refs.set(command.source_ref, None)
        ledger = replace(ledger, source_refs=known)
    decided = ledgers.decide(ledger, replace(command, apart=True), meta, plan)
    if not decided:
        return ()
    used = ReferenceUsed(
        originator_id=reference_id(ledger.id, command.source_ref),
        originator_version=1,
        meta=meta,
        account_id=ledger.id,
        source_ref=command.source_ref,
    )
    return (*decided, used)


def evolve(_: Reference | None, event: Event) -> Reference:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if not isinstance(event, ReferenceUsed):
        raise TypeError(f"{type(event).__name__} is not an event of a reference")
    return Reference(
        id=event.originator_id,
        version=event.originator_version,
        account_id=event.account_id,
        source_ref=event.source_ref,
    )
