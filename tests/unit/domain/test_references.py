"""What a reference says of its first use, and what is refused for it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from domain import reference
from domain.errors import DomainError, IllegalTransition, InvalidInput, ReferenceReused
from domain.event import Event
from domain.ledger import AdjustCredits, CloseAccount, GrantCredits
from domain.reference import Reference, ReferenceUsed
from tests.unit.domain.given import NOON, a_ledger, grant, metadata

HOUR = timedelta(hours=1)
FIRST = replace(grant(20), source_ref="r", reason="why")
UP = AdjustCredits(adjustment_id=UUID(int=7), amount=20, source_ref="r", reason="why")
OTHER: dict[str, object] = {
    "kind": "promotional",
    "amount": 21,
    "priority": 7,
    "effective_at": NOON + HOUR,
    "expires_at": NOON + 2 * HOUR,
    "rolls_over": UUID(int=9),
    "rollover_max": 1,
}


def _used(command: GrantCredits | AdjustCredits) -> Reference:
    *_, used = reference.decide(None, a_ledger(grant(50, number=2)), command, metadata())
    return reference.evolve(None, used)


def _again(known: Reference, command: GrantCredits | AdjustCredits) -> tuple[Event, ...]:
    return reference.decide(known, a_ledger(grant(50, number=2)), command, metadata())


@pytest.mark.parametrize("command", [FIRST, UP, replace(UP, amount=-20)])
def test_the_same_content_again_is_quiet(command: GrantCredits | AdjustCredits) -> None:
    assert _again(_used(command), command) == ()
    assert _again(_used(command), replace(command, reason="sent again")) == ()


def test_it_is_the_same_whichever_grant_it_would_be() -> None:
    assert _again(_used(FIRST), replace(FIRST, grant_id=UUID(int=77))) == ()


@pytest.mark.parametrize("name", OTHER)
def test_other_content_is_refused_by_its_name_with_what_it_was(name: str) -> None:
    with pytest.raises(ReferenceReused) as refusal:
        _again(_used(FIRST), replace(FIRST, **{name: OTHER[name]}))
    assert refusal.value.first == {name: getattr(FIRST, name)}
    assert str(refusal.value) == f"The reference 'r' was used before, with other content: {name}."


def test_all_that_differs_is_named() -> None:
    with pytest.raises(ReferenceReused) as refusal:
        _again(_used(FIRST), replace(FIRST, **OTHER))
    assert set(refusal.value.first) == set(OTHER)


def test_an_adjustment_up_is_a_grant_of_its_kind_and_one_down_is_not() -> None:
    as_grant = replace(FIRST, kind="adjustment")
    assert _again(_used(UP), as_grant) == _again(_used(as_grant), UP) == ()
    with pytest.raises(ReferenceReused) as refusal:
        _again(_used(UP), replace(UP, amount=-20))
    assert refusal.value.first == {"amount": 20}


def test_the_same_content_again_is_quiet_also_when_it_would_be_too_late_for_it() -> None:
    short = replace(FIRST, expires_at=NOON + HOUR)
    known, before = _used(short), a_ledger(grant(50, number=2))
    assert reference.decide(known, before, short, metadata(NOON + 2 * HOUR)) == ()
    with pytest.raises(IllegalTransition):
        reference.decide(known, a_ledger(CloseAccount(reason="r")), short, metadata())


def test_what_cannot_be_at_all_is_refused_before() -> None:
    known = _used(FIRST)
    rows: list[tuple[GrantCredits, bool, type[DomainError]]] = [
        (replace(FIRST, amount=0), False, InvalidInput),
        (replace(FIRST, expires_at=NOON), False, InvalidInput),
        (replace(FIRST, amount=21), True, IllegalTransition),
    ]
    for command, closed, refusal in rows:
        state = a_ledger(CloseAccount(reason="r")) if closed else a_ledger()
        with pytest.raises(refusal):
            reference.decide(known, state, command, metadata())


def test_one_that_was_used_before_its_content_was_kept_is_quiet() -> None:
    *_, used = reference.decide(None, a_ledger(), FIRST, metadata())
    assert isinstance(used, ReferenceUsed)
    early = reference.evolve(None, replace(used, terms=None))
    assert _again(early, replace(FIRST, **OTHER)) == ()
