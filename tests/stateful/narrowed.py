"""A machine that keeps but a few of its rules, and so comes often to where these meet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RULE_MARKER,
    RuleBasedStateMachine,
    run_state_machine_as_test,
)

Machine = type[RuleBasedStateMachine]
Bug = Callable[[pytest.MonkeyPatch], None]
Rules = tuple[str, ...]
ALL: Rules = ()
A_FEW = settings(max_examples=10, stateful_step_count=30, suppress_health_check=list(HealthCheck))


def searches(bugs: Sequence[Bug], where: Mapping[str, Rules]) -> list[Any]:
    """Parameters `plant` and `rules`, to look for each bug among all rules.

    Those that only hundreds of such histories show are looked for where they are, by their names;
    and among all rules nightly.
    """
    names = {plant.__name__ for plant in bugs}
    assert names >= where.keys(), f"no such bugs: {where.keys() - names}"
    found = []
    for plant in bugs:
        name = plant.__name__
        seldom = [pytest.mark.nightly] if name in where else []
        found.append(pytest.param(plant, ALL, id=name, marks=seldom))
        if name in where:
            found.append(pytest.param(plant, where[name], id=f"{name}-where_it_is"))
    return found


def narrowed(machine: Machine, kept: Rules) -> Machine:
    """`machine` with its beginnings and its invariants, whose generator knows these rules alone.

    It is first played as things are: what it finds later is the bug planted then.
    """
    if kept == ALL:
        return machine
    rules: dict[str, Any] = {
        name: getattr(member, RULE_MARKER).function
        for name, member in inspect.getmembers(machine)
        if hasattr(member, RULE_MARKER)
    }
    assert rules.keys() >= set(kept), f"{machine.__name__} has no such rules: {kept}"
    # Others may still call what is no rule any more.
    narrow = type(machine.__name__, (machine,), {n: rules[n] for n in rules.keys() - set(kept)})
    run_state_machine_as_test(narrow, settings=A_FEW)
    return narrow
