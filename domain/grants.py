"""The grants of one ledger: in which order they burn, and how slices of them move."""

from __future__ import annotations

from msgspec.structs import replace

from domain.ledger_events import CreditsGranted, Grant, GrantKind, Slice

Grants = tuple[Grant, ...]
"""Those with credits left, free or held, in burn order."""
Slices = tuple[Slice, ...]
_BURN_RANK: dict[GrantKind, int] = {"trial": 0, "promotional": 1, "adjustment": 2, "paid": 3}


def with_grant(grants: Grants, event: CreditsGranted) -> Grants:
    """`grants` and the new one, in burn order: priority, kind, then the earliest."""
    grant = Grant(
        id=event.grant_id,
        kind=event.kind,
        priority=event.priority,
        order=event.originator_version,
        remaining=event.amount,
    )
    return tuple(sorted((*grants, grant), key=_burn_key))


def _burn_key(grant: Grant) -> tuple[int, int, int]:
    return grant.priority, _BURN_RANK[grant.kind], grant.order


def burn(grants: Grants, amount: int) -> Slices:
    """Slices of `amount` credits from grants in burn order; the balance was checked to cover it."""
    slices: list[Slice] = []
    for grant in grants:
        if amount == 0:
            break
        if taken := min(amount, grant.remaining):
            slices.append(Slice(grant.id, taken))
            amount -= taken
    assert amount == 0, "grants cover the available balance"
    return tuple(slices)


def split(slices: Slices, amount: int) -> tuple[Slices, Slices]:
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


def moved(grants: Grants, slices: Slices, *, free: int, held: int) -> Grants:
    """Grants after the slices' amounts moved by the signs `free` and `held`; empty ones leave."""
    amounts = {piece.grant_id: piece.amount for piece in slices}
    kept = []
    for grant in grants:
        amount = amounts.get(grant.id)
        if amount is not None:
            grant = replace(  # noqa: PLW2901 - the moved grant takes its place
                grant, remaining=grant.remaining + free * amount, held=grant.held + held * amount
            )
            if grant.remaining == 0 and grant.held == 0:
                continue
        kept.append(grant)
    return tuple(kept)
