"""`docs/lifecycles.md`: every state machine, drawn by `transitions`, and its table."""

from __future__ import annotations

from collections.abc import Iterator

from domain.lifecycle import Edge, Lifecycle
from domain.machines import MACHINES

PATH = "docs/lifecycles.md"
INTRODUCTION = """\
# The state machines

Generated from `domain/machines.py` by `make generate`.

What is not drawn is refused. Guards stand in brackets, `!` for "not".
"""


def lifecycle_diagrams() -> dict[str, str]:
    """The file by its path."""
    sections = [line for machine in MACHINES for line in _section(machine)]
    return {PATH: "\n".join([INTRODUCTION, *sections])}


def _section(machine: Lifecycle) -> Iterator[str]:
    yield f"## {machine.noun.capitalize()}\n"
    yield f"```mermaid\n{machine.mermaid()}```\n"
    yield f"| from | {' | '.join(f'`{trigger}`' for trigger in machine.triggers)} |"
    yield f"| --- |{' --- |' * len(machine.triggers)}"
    for state in machine.states:
        cells = (_cell(machine.table.get((trigger, state), ())) for trigger in machine.triggers)
        yield f"| {state} | {' | '.join(cells)} |"
    yield ""


def _cell(edges: tuple[Edge, ...]) -> str:
    return "<br>".join(f"{target}{_guards(guards)}" for target, guards in edges)


def _guards(guards: tuple[tuple[str, bool], ...]) -> str:
    signs = " & ".join(name if wanted else f"!{name}" for name, wanted in guards)
    return f" [{signs}]" if signs else ""
