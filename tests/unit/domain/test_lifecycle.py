"""The compiled table is `transitions` itself: same target or same refusal, whatever is asked."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transitions import Machine, MachineError, State

import domain
from domain.errors import IllegalTransition
from domain.lifecycle import Lifecycle
from domain.machines import MACHINES

GUARDS = ("paid", "fresh", "urgent")
REFUSED = "refused"


class Model:
    """What `transitions` moves: it has the guards as plain boolean attributes."""

    def __init__(self, answers: dict[str, bool]) -> None:
        self.state = ""
        vars(self).update(answers)

    trigger: Any


def guards_of(lifecycle: Lifecycle) -> list[str]:
    edges = itertools.chain.from_iterable(lifecycle.table.values())
    return sorted({name for _, guards in edges for name, _ in guards})


def questions(lifecycle: Lifecycle) -> Iterator[tuple[str, str, dict[str, bool]]]:
    names = guards_of(lifecycle)
    for trigger, state in itertools.product(lifecycle.triggers, lifecycle.states):
        for answers in itertools.product([True, False], repeat=len(names)):
            yield trigger, state, dict(zip(names, answers, strict=True))


def by_transitions(lifecycle: Lifecycle, trigger: str, state: str, answers: dict[str, bool]) -> str:
    model = Model(answers)
    Machine(
        model=model,
        states=list(lifecycle.states),
        initial=state,
        transitions=[dict(transition) for transition in lifecycle.transitions],
        auto_transitions=False,
    )
    try:
        moved = model.trigger(trigger)
    except MachineError:
        return REFUSED
    return model.state if moved else REFUSED


def by_table(lifecycle: Lifecycle, trigger: str, state: str, answers: dict[str, bool]) -> str:
    try:
        return lifecycle.target(trigger, state, Model(answers))
    except IllegalTransition as refusal:
        told = (refusal.trigger, refusal.state, refusal.allowed)
    return REFUSED if told == (trigger, state, lifecycle.allowed(state)) else f"told {told}"


def assert_equal_to_transitions(lifecycle: Lifecycle) -> int:
    asked = 0
    for question in questions(lifecycle):
        assert by_table(lifecycle, *question) == by_transitions(lifecycle, *question), question
        asked += 1
    return asked


def lifecycles_in_domain() -> set[int]:
    modules = [
        importlib.import_module(f"domain.{module.name}")
        for module in pkgutil.iter_modules(domain.__path__)
    ]
    values = itertools.chain.from_iterable(vars(module).values() for module in modules)
    return {id(value) for value in values if isinstance(value, Lifecycle)}


def test_the_list_of_machines_is_complete() -> None:
    assert {id(machine) for machine in MACHINES} == lifecycles_in_domain()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.noun)
def test_each_of_our_machines_equals_transitions(machine: Lifecycle) -> None:
    combinations = len(machine.triggers) * len(machine.states) * 2 ** len(guards_of(machine))
    assert assert_equal_to_transitions(machine) == combinations


states = st.lists(st.sampled_from(["new", "live", "done", "lost", "kept"]), min_size=1, unique=True)
guard_lists = st.none() | st.sampled_from(GUARDS) | st.lists(st.sampled_from(GUARDS), max_size=3)


@st.composite
def lifecycles(draw: st.DrawFn) -> Lifecycle:
    names = draw(states)
    one = st.sampled_from(names)
    transition = st.fixed_dictionaries(
        {
            "trigger": st.sampled_from(["open", "shut", "drop"]),
            "source": one | st.lists(one, min_size=1, unique=True) | st.just("*"),
            "dest": one | st.just("=") | st.none(),
        },
        optional={"conditions": guard_lists, "unless": guard_lists},
    )
    return Lifecycle("thing", names, draw(one), draw(st.lists(transition, max_size=10)))


@given(lifecycles())
@settings(max_examples=100)
def test_any_machine_equals_transitions(lifecycle: Lifecycle) -> None:
    assert_equal_to_transitions(lifecycle)


def labels(drawn: str, source: str, target: str) -> list[str]:
    """What stands at the arrows from `source` to `target`."""
    arrow = f"{source} --> {target}: "
    lines = [line.strip() for line in drawn.splitlines()]
    return [
        label.replace(" [internal]", "")
        for line in lines
        if line.startswith(arrow)
        for label in line.removeprefix(arrow).split(" | ")
    ]


@given(lifecycles())
@settings(max_examples=50)
def test_the_drawing_shows_every_edge(lifecycle: Lifecycle) -> None:
    drawn = lifecycle.mermaid()
    for (trigger, source), edges in lifecycle.table.items():
        for target, guards in edges:
            signs = " & ".join(name if wanted else f"!{name}" for name, wanted in guards)
            label = f"{trigger} [{signs}]" if signs else trigger
            assert label in labels(drawn, source, target)


def test_the_drawing_has_states_edges_guards_and_the_start() -> None:
    task = next(machine for machine in MACHINES if machine.noun == "task")
    drawn = task.mermaid()
    assert drawn.endswith("\n")
    for line in (
        "stateDiagram-v2",
        "queued --> running: start",
        "running --> backoff: fail_attempt [attempts_left]",
        "backoff --> running: start",
        "backoff --> cancelled: cancel",
        "backoff --> failed: expire",
        "cancelling --> cancelled: release | stall | expire | confirm_cancel",
        "running --> queued: release | stall [stalls_left]",
        "running --> failed: stall [!stalls_left] | expire | fail",
        "[*] --> queued",
    ):
        assert line in [drawn_line.strip() for drawn_line in drawn.splitlines()]


GOOD: dict[str, Any] = {"trigger": "go", "source": "new", "dest": "done"}


@pytest.mark.parametrize(
    "extra",
    [
        {"before": "notify"},
        {"after": ["notify"]},
        {"prepare": len},
        {"conditions": len},
        {"unless": [len]},
        {"conditions": ["paid", lambda: True]},
        {"unless": "os.path.exists"},
        {"conditions": "not a name"},
        {"conditions": 1},
        {"dest": "nowhere"},
        {"dest": State("done")},
        {"source": "nowhere"},
        {"source": ["new", "nowhere"]},
        {"source": None},
        {"dest": "done_well"},
        {"trigger": "state"},
        {"queued": True},
    ],
    ids=" ".join,
)
def test_what_the_table_cannot_hold_is_refused_at_construction(extra: dict[str, Any]) -> None:
    Lifecycle("thing", ["new", "done"], "new", [GOOD])
    with pytest.raises(ValueError, match=r"^thing: "):
        Lifecycle("thing", ["new", "done"], "new", [GOOD | extra])


@pytest.mark.parametrize(
    "names",
    [
        ["new", "done_well"],
        ["new", "done.well"],
        ["new", "done", "done"],
        ["new", {"name": "done", "children": ["well"]}],
        ["new", {"name": "done", "on_enter": "notify"}],
        ["new", State("done", on_exit="notify")],
        ["done"],
        [],
    ],
)
def test_nested_doubled_and_missing_states_are_refused(names: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"^thing: "):
        Lifecycle("thing", names, "new", [])


def test_a_transition_without_a_trigger_is_refused() -> None:
    with pytest.raises(ValueError, match="trigger"):
        Lifecycle("thing", ["new"], "new", [{"source": "new", "dest": "new"}])


def test_guards_pick_the_first_edge_that_agrees() -> None:
    machine = Lifecycle(
        "thing",
        ["new", "done", "lost"],
        "new",
        [GOOD | {"conditions": ["paid"], "unless": "urgent"}, GOOD | {"dest": "lost"}],
    )
    assert machine.target("go", "new", Model({"paid": True, "urgent": False})) == "done"
    assert machine.target("go", "new", Model({"paid": True, "urgent": True})) == "lost"
    assert machine.target("go", "new", Model({"paid": False, "urgent": False})) == "lost"


def test_a_state_is_terminal_when_only_a_retry_leads_out() -> None:
    machine = Lifecycle(
        "thing", ["new", "done", "lost"], "new", [GOOD, GOOD | {"trigger": "retry"}]
    )
    assert [machine.terminal(state) for state in machine.states] == [False, True, True]
    again = Lifecycle("thing", ["new", "done"], "new", [GOOD | {"trigger": "retry"}])
    assert again.terminal("new")
