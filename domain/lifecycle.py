"""State machines are declared with `transitions`, drawn by it, and run from a compiled table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transitions import Machine, MachineError
from transitions.extensions import GraphMachine

from domain.errors import IllegalTransition

Guard = tuple[str, bool]
Edge = tuple[str, tuple[Guard, ...]]
Transition = dict[str, Any]
_AGAIN = frozenset({"retry", "start_again"})
_KEYS = frozenset({"trigger", "source", "dest", "conditions", "unless"})


class Lifecycle:
    """One machine of one noun, compiled to `(trigger, state) -> edges`.

    Guards (`conditions`, `unless`) are names of boolean attributes of the aggregate's state.
    Raises `ValueError` at construction for callbacks, nested states, guards that are not names,
    unknown states and states given twice.
    """

    def __init__(
        self, noun: str, states: Sequence[str], initial: str, transitions: Sequence[Transition]
    ) -> None:
        _refuse_states(noun, states, initial)
        for transition in transitions:
            _refuse_callbacks(noun, transition)
            _refuse_no_source(noun, transition)
            _refuse_guards(noun, transition)
        self.noun = noun
        self.states = tuple(states)
        self.initial = initial
        self.transitions = tuple(transitions)
        self.machine = self._machine(Machine)
        self.triggers = tuple(self.machine.events)
        self.table = self._compile()
        self._refuse_unknown_states()
        self._allowed = {
            state: tuple(t for t in self.triggers if (t, state) in self.table)
            for state in self.states
        }

    def _machine(
        self,
        machine_class: type[Machine],
        model: object = None,
        **options: Any,  # noqa: ANN401
    ) -> Machine:
        try:
            return machine_class(
                model=model,
                states=list(self.states),
                initial=self.initial,
                transitions=[dict(t) for t in self.transitions],
                auto_transitions=False,
                **options,
            )
        except (MachineError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.noun}: {error}") from error

    def _compile(self) -> dict[tuple[str, str], tuple[Edge, ...]]:
        table: dict[tuple[str, str], tuple[Edge, ...]] = {}
        for trigger, event in self.machine.events.items():
            for source, candidates in event.transitions.items():
                table[trigger, source] = tuple(
                    (
                        source if candidate.dest is None else candidate.dest,
                        tuple((str(c.func), c.target) for c in candidate.conditions),
                    )
                    for candidate in candidates
                )
        return table

    def _refuse_unknown_states(self) -> None:
        """`transitions` finds out only when the edge is taken."""
        sources = {source for _, source in self.table}
        targets = {target for edges in self.table.values() for target, _ in edges}
        if unknown := (sources | targets) - set(self.states):
            raise ValueError(f"{self.noun}: {sorted(map(str, unknown))} are no states")

    def allowed(self, state: str) -> tuple[str, ...]:
        """Triggers that have an edge from `state`, guards not looked at."""
        return self._allowed[state]

    def terminal(self, state: str) -> bool:
        """True when nothing leads out of `state` but a user's wish to run it again."""
        return not set(self._allowed[state]) - _AGAIN

    def target(self, trigger: str, state: str, model: object = None) -> str:
        """State that `trigger` leads to from `state`; `model` answers the guards.

        Raises `IllegalTransition` when there is no edge, no edge's guards agree, or no such state.
        """
        for destination, guards in self.table.get((trigger, state), ()):
            for name, wanted in guards:
                if bool(getattr(model, name)) is not wanted:
                    break
            else:
                return destination
        raise IllegalTransition(self.noun, trigger, state, self._allowed.get(state, ()))

    def mermaid(self) -> str:
        """The machine as a mermaid state diagram, drawn by `transitions`."""
        drawn = _Drawn()
        machine = self._machine(
            GraphMachine,
            drawn,
            graph_engine="mermaid",
            show_conditions=True,
            title=f"title: {self.noun}",
        )
        return str(machine.get_combined_graph().source).rstrip() + "\n"


class _Drawn:
    """The model that `transitions` wants before it draws."""


def _refuse_states(noun: str, states: Sequence[str], initial: str) -> None:
    for state in states:
        if type(state) is not str or "_" in state or not state.isidentifier():
            raise ValueError(f"{noun}: state {state!r} must be a plain, flat name")
    if initial not in states:
        raise ValueError(f"{noun}: the initial {initial!r} is no state")
    if len(set(states)) != len(states):
        raise ValueError(f"{noun}: a state is given twice")


def _refuse_no_source(noun: str, transition: Transition) -> None:
    """`transitions` would take it for a transition from nowhere."""
    if not transition.get("source"):
        raise ValueError(f"{noun}: {transition} has no source")


def _refuse_callbacks(noun: str, transition: Transition) -> None:
    if unknown := set(transition) - _KEYS:
        raise ValueError(f"{noun}: {sorted(unknown)} refused: guards only, no callbacks")


def _refuse_guards(noun: str, transition: Transition) -> None:
    """A dotted name would be imported by `transitions`, and a callable be run by it."""
    for kind in ("conditions", "unless"):
        guards = transition.get(kind) or ()
        for guard in guards if isinstance(guards, list | tuple) else [guards]:
            if type(guard) is not str or not guard.isidentifier():
                raise ValueError(f"{noun}: guard {guard!r} must be an attribute's name")
