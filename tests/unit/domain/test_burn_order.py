"""The order in which a ledger's grants burn, and refill."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.grants import split
from domain.ledger import GrantCredits, ReleaseHold
from domain.ledger_events import GrantKind, Slice
from tests.unit.domain.given import HOLD_ID, a_ledger, after, grant, hold

# Burn order: priority (low number first), then the kind, then the earliest.
KINDS: list[GrantKind] = ["trial", "promotional", "adjustment", "paid"]


def burnt(*grants: GrantCredits) -> list[int]:
    """Numbers of the grants in the order in which one hold on all of them takes them."""
    total = sum(g.amount for g in grants)
    (held,) = a_ledger(*grants, hold(total)).holds.values()
    return [piece.grant_id.int - 1000 for piece in held.slices]


def test_grants_burn_by_priority_first() -> None:
    assert burnt(
        grant(1, number=1, priority=100, kind="trial"), grant(1, number=2, priority=99)
    ) == [2, 1]


def test_a_grant_has_the_middle_priority_unless_told_otherwise() -> None:
    plain = GrantCredits(grant_id=UUID(int=1005), kind="paid", amount=1, source_ref="plain")
    assert burnt(grant(1, number=1, priority=101), plain, grant(1, number=2, priority=99)) == [
        2,
        5,
        1,
    ]


def test_then_trial_before_promotional_before_adjustment_before_paid() -> None:
    given_last_first = [grant(1, number=4 - n, kind=kind) for n, kind in enumerate(KINDS[::-1])]
    assert burnt(*given_last_first) == [1, 2, 3, 4]


def test_then_the_earliest_first() -> None:
    assert burnt(grant(1, number=3), grant(1, number=1), grant(1, number=2)) == [3, 1, 2]


def test_a_grant_without_free_credits_is_passed_over() -> None:
    state = a_ledger(grant(5), grant(5, number=2), hold(5), hold(3, number=1))
    assert state.holds[hold(number=1).hold_id].slices == (Slice(UUID(int=1002), 3),)


def test_a_release_refills_the_grant_that_burns_first() -> None:
    state = a_ledger(grant(5), grant(5, number=2), hold(5), hold(3, number=1))
    state = after(state, ReleaseHold(hold_id=HOLD_ID), hold(4, number=2))
    assert state.holds[hold(number=2).hold_id].slices == (Slice(UUID(int=1001), 4),)


slices = st.lists(st.integers(1, 50), min_size=0, max_size=6).map(
    lambda sizes: tuple(Slice(UUID(int=n), size) for n, size in enumerate(sizes))
)


@given(slices, st.data())
def test_a_split_parts_the_slices_at_the_amount(
    pieces: tuple[Slice, ...], data: st.DataObject
) -> None:
    amount = data.draw(st.integers(0, sum(piece.amount for piece in pieces)))
    taken, rest = split(pieces, amount)
    assert sum(piece.amount for piece in taken) == amount
    assert all(piece.amount > 0 for piece in (*taken, *rest))
    credits_in_order = [p.grant_id for p in pieces for _ in range(p.amount)]
    assert [p.grant_id for p in (*taken, *rest) for _ in range(p.amount)] == credits_in_order
