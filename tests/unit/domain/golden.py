"""The golden files, and the state they tell of as JSON: every field, whatever its default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import asdict

from adapters.mapper import EventMapper
from domain import group, ledger, schedule, task
from domain.event import Event
from domain.group import Group
from domain.group_events import GroupEvent
from domain.ledger import CreditLedger
from domain.ledger_events import LedgerEvent, LedgerSnapshot
from domain.schedule import Schedule
from domain.schedule_events import ScheduleEvent
from domain.task import Task
from domain.task_events import TaskEvent

FOLDER = Path(__file__).parents[2] / "golden"
SUMS = FOLDER / "SHA256SUMS"
Json = Any


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: what came before, the event as stored, and the state after it."""

    given: tuple[str, ...]
    stored: Raw
    folded: dict[str, Json]


def names() -> list[str]:
    """Golden files, each named by a stored topic, maybe with `+` and what it is an example of."""
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))


def golden(name: str) -> Golden:
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Golden)


def topic_of(name: str) -> str:
    """The stored topic of a golden file."""
    return name.partition("+")[0]


def load(name: str) -> Event:
    """The event of a golden file, as the store would load it today."""
    return EventMapper().decode(topic_of(name), bytes(golden(name).stored))


def folded(events: Sequence[Event]) -> dict[str, Json]:
    """The state after `events` of one stream."""
    if isinstance(events[0], ScheduleEvent):
        return _schedule_told(events)
    state: Task | Group | CreditLedger | None = None
    for event in events:
        if isinstance(event, TaskEvent):
            assert isinstance(state, Task | None)
            state = task.evolve(state, event)
        elif isinstance(event, GroupEvent):
            assert isinstance(state, Group | None)
            state = group.evolve(state, event)
        else:
            assert isinstance(event, LedgerEvent | LedgerSnapshot)
            assert isinstance(state, CreditLedger | None)
            state = ledger.evolve(state, event)
    if isinstance(state, Group):
        return _told(state) | {"members": [_told(member) for member in state.members]}
    return _told(state) if isinstance(state, Task) else _ledger_told(state)


def _schedule_told(events: Sequence[Event]) -> dict[str, Json]:
    state: Schedule | None = None
    for event in events:
        state = schedule.evolve(state, event)
    assert state is not None
    return _told(state)


def _ledger_told(state: CreditLedger | None) -> dict[str, Json]:
    assert state is not None
    return {
        "balance": _told(state.balance),
        "grants": [_told(grant) for grant in state.grants],
        "holds": [_told(hold) for _, hold in sorted(state.holds.items())],
        "source_refs": sorted(state.source_refs),
        "day": state.day.isoformat(),
        "day_count": state.day_count,
    }


def _told(struct: msgspec.Struct) -> dict[str, Json]:
    fields: dict[str, Json] = msgspec.json.decode(msgspec.json.encode(asdict(struct)))
    return fields
