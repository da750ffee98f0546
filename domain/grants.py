"""The grants of one ledger: in which order they burn, and how slices of them move."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec.structs import replace

from domain.ledger_events import OVERDRAFT, CreditsGranted, Grant, GrantKind, Slice

Grants = tuple[Grant, ...]
"""Those with credits left, free or held, in burn order."""
Slices = tuple[Slice, ...]
_BURN_RANK: dict[GrantKind, int] = {"trial": 0, "promotional": 1, "adjustment": 2, "paid": 3}
_NEVER = datetime.max.replace(tzinfo=UTC)


def with_grant(grants: Grants, event: CreditsGranted) -> Grants:
    """`grants` and the new one."""
    effective_at = event.effective_at
    grant = Grant(
        id=event.grant_id,
        kind=event.kind,
        priority=event.priority,
        order=event.originator_version,
        remaining=event.amount,
        held=0,
        effective_at=effective_at,
        expires_at=event.expires_at,
        pending=effective_at is not None and effective_at > event.meta.at,
    )
    return in_burn_order((*grants, grant))


def in_burn_order(grants: Iterable[Grant]) -> Grants:
    """By priority, then the earliest to expire, then kind, then the earliest granted."""
    return tuple(sorted(grants, key=burn_key))


def burn_key(grant: Grant) -> tuple[int, datetime, int, int]:
    """What the burn order sorts by; unlike for any two grants of a ledger."""
    return grant.priority, grant.expires_at or _NEVER, _BURN_RANK[grant.kind], grant.order


def burn(grants: Grants, amount: int) -> Slices:
    """Slices of `amount` credits from effective grants in burn order.

    What they do not cover is overdrawn; the balance was checked to allow it.
    """
    slices: list[Slice] = []
    for grant in grants:
        if amount == 0:
            break
        if not grant.pending and (taken := min(amount, grant.remaining)):
            slices.append(Slice(grant.id, taken))
            amount -= taken
    if amount:
        slices.append(Slice(OVERDRAFT, amount))
    return tuple(slices)


def split(slices: Iterable[Slice], amount: int) -> tuple[Slices, Slices]:
    """The first `amount` credits of the slices, and the rest."""
    taken: list[Slice] = []
    rest: list[Slice] = []
    for piece in slices:
        part = min(piece.amount, amount)
        amount -= part
        if part:
            taken.append(Slice(piece.grant_id, part))
        if piece.amount > part:
            rest.append(Slice(piece.grant_id, piece.amount - part))
    return tuple(taken), tuple(rest)


def overdraft_in(slices: Slices) -> int:
    """How much of the slices no grant covers."""
    owed = 0
    for piece in slices:
        if piece.grant_id.int == OVERDRAFT.int:
            owed += piece.amount
    return owed


def moved(grants: Grants, slices: Slices, *, free: int, held: int) -> Grants:
    """Grants after the slices' amounts moved by the signs `free` and `held`; empty ones leave."""
    if not slices:
        return grants
    amounts: dict[int, int] = {}  # a UUID takes five times as long to hash as its integer
    for piece in slices:
        number = piece.grant_id.int
        amounts[number] = amounts.get(number, 0) + piece.amount
    amounts.pop(OVERDRAFT.int, None)
    kept: list[Grant] = []
    for place, grant in enumerate(grants):
        if not amounts:
            return (*kept, *grants[place:])
        if amount := amounts.pop(grant.id.int, 0):
            grant = replace(  # noqa: PLW2901 - the moved grant takes its place
                grant, remaining=grant.remaining + free * amount, held=grant.held + held * amount
            )
            if grant.remaining == 0 and grant.held == 0:
                continue
        kept.append(grant)
    return tuple(kept)


def due_at(grant: Grant) -> datetime | None:
    """When something is to be done about a grant by itself: it matures, expires, or is voided."""
    if grant.pending:
        return grant.effective_at
    if not grant.remaining:
        return None
    if grant.voided:
        return datetime.min.replace(tzinfo=UTC)
    return grant.expires_at


def gone_by(grants: Grants, at: datetime) -> int:
    """Free credits of grants that have expired by then, or were voided."""
    return sum(
        grant.remaining
        for grant in grants
        if not grant.pending and (due := due_at(grant)) is not None and due <= at
    )


def as_granted(event: CreditsGranted, *, voided: bool = False) -> Grant:
    """A grant that had nothing left, as it comes back by a refund."""
    return Grant(
        id=event.grant_id,
        kind=event.kind,
        priority=event.priority,
        order=event.originator_version,
        remaining=0,
        held=0,
        effective_at=event.effective_at,
        expires_at=event.expires_at,
        voided=voided,
    )
