"""What a plan keeps from an account: types of the operator, and storing more than it may."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from domain import metering
from domain.errors import DomainError, InsufficientCredits, OperatorsOnly, StorageFull
from domain.plan import Plan
from domain.quote import quote
from tests.unit.domain.given import a_ledger, grant, metadata, submission

STANDARD = Plan(name="standard")
OPERATOR = Plan(name="operator", operator=True)
BOUNDED = Plan(name="bounded", stored_bytes_max=100)


def refusal_of(plan: Plan, **asked: object) -> DomainError | None:
    """The refusal of a submission, which is also what a quote says."""
    ledger, command = a_ledger(grant(100)), replace(submission(), **asked)
    told = quote(ledger, command, plan, metadata(), None).refusal
    if told is None:
        assert metering.submit(None, ledger, command, plan, metadata())
        return None
    with pytest.raises(type(told)) as refusal:
        metering.submit(None, ledger, command, plan, metadata())
    assert str(refusal.value) == str(told)
    return refusal.value


@pytest.mark.parametrize(
    ("plan", "operator", "refused"),
    [
        (STANDARD, True, True),
        (STANDARD, False, False),
        (OPERATOR, True, False),
        (OPERATOR, False, False),
    ],
)
def test_a_type_of_the_operator_is_refused_to_all_other_accounts(
    plan: Plan, *, operator: bool, refused: bool
) -> None:
    assert isinstance(refusal_of(plan, operator=operator), OperatorsOnly) is refused


@pytest.mark.parametrize(
    ("plan", "stored", "refused"),
    [
        (BOUNDED, 99, False),
        (BOUNDED, 100, True),
        (BOUNDED, 101, True),
        (BOUNDED, None, False),
        (STANDARD, 10**15, False),
        (Plan(name="none", stored_bytes_max=0), 0, True),
    ],
)
def test_who_stores_as_much_as_its_plan_allows_stores_no_more(
    plan: Plan, stored: int | None, *, refused: bool
) -> None:
    refusal = refusal_of(plan, stored_bytes=stored)
    assert isinstance(refusal, StorageFull) is refused
    if isinstance(refusal, StorageFull):
        assert (refusal.stored_bytes, refusal.stored_bytes_max) == (stored, plan.stored_bytes_max)


def test_these_are_refused_before_credits_are_looked_at() -> None:
    asked = {"operator": True, "stored_bytes": 100, "credits": 10**6}
    assert isinstance(refusal_of(BOUNDED, **asked), OperatorsOnly)
    assert isinstance(refusal_of(BOUNDED, **asked | {"operator": False}), StorageFull)
    asked |= {"operator": False, "stored_bytes": 0}
    assert isinstance(refusal_of(BOUNDED, **asked), InsufficientCredits)
