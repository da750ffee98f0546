"""Plans are looked up by name, and an unknown name says which there are."""

from __future__ import annotations

import pytest

from domain.errors import InvalidInput
from domain.plan import PLANS, plan_named


def test_the_standard_plan_has_the_limits_of_the_mission() -> None:
    standard = plan_named("standard")
    assert (standard.active_tasks_max, standard.daily_tasks_max) == (10, 1_000)


def test_each_plan_is_found_by_its_own_name() -> None:
    assert all(plan_named(name).name == name for name in PLANS)


def test_an_unknown_plan_is_refused_with_the_choice() -> None:
    with pytest.raises(InvalidInput) as refusal:
        plan_named("gold")
    assert refusal.value.errors == (("/plan", "must be one of enterprise, standard, unlimited"),)
