"""Plans are looked up by name, have bounds, and say how an account is served among others."""

from __future__ import annotations

import msgspec
import pytest

from domain.errors import InvalidInput
from domain.plan import STRIDE, Plan
from tests.plans import PLANS, plan_named


def test_the_standard_plan_has_the_limits_of_the_mission() -> None:
    standard = plan_named("standard")
    assert (standard.active_tasks_max, standard.daily_tasks_max) == (10, 1_000)


def test_each_plan_is_found_by_its_own_name() -> None:
    assert all(plan_named(name).name == name for name in PLANS)


def test_an_unknown_plan_is_refused_with_the_choice() -> None:
    with pytest.raises(InvalidInput) as refusal:
        plan_named("gold")
    assert refusal.value.errors == (
        ("/plan", "must be one of enterprise, operator, standard, unlimited"),
    )


@pytest.mark.parametrize(("weight", "turns"), [(1, 12), (2, 24), (3, 36), (4, 48)])
def test_an_account_gets_turns_in_proportion_to_its_weight(weight: int, turns: int) -> None:
    """Turns are taken in order, so as many as there are strides to a stretch of them."""
    plan = Plan(name="weighed", weight=weight)
    assert (12 * STRIDE) // plan.stride == turns


def test_the_heaviest_account_still_moves_on() -> None:
    assert Plan(name="heavy", weight=STRIDE).stride == 1


def test_only_a_better_plan_is_served_before_others() -> None:
    served = {name: (plan.weight, plan.priority_raise) for name, plan in PLANS.items()}
    assert served.pop("enterprise") == (4, 1)
    assert set(served.values()) == {(1, 0)}


def test_whoever_runs_the_service_has_a_plan_of_its_own() -> None:
    assert [name for name, plan in PLANS.items() if plan.operator] == ["operator"]


@pytest.mark.parametrize(
    "broken",
    [
        {"weight": 0},
        {"weight": STRIDE + 1},
        {"priority_raise": -1},
        {"priority_raise": 4},
        {"stored_bytes_max": -1},
        {"stored_bytes_max": 2**53},
    ],
    ids=str,
)
def test_a_plan_has_bounds(broken: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "odd", **broken}, Plan)
