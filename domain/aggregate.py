"""What the store must know of each kind of aggregate: its events, and how it folds and is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, get_args
from uuid import UUID

import msgspec

from domain import group, ledger, pause, publication, reference, schedule, task
from domain.event import Event, Metadata
from domain.group_events import GroupEvent
from domain.ledger_events import LedgerEvent
from domain.pause_events import PauseEvent
from domain.publication_events import PublicationEvent
from domain.schedule_events import ScheduleEvent
from domain.task_events import TaskEvent

SNAPSHOT_EVENTS = 500
"""Events of one ledger after which its next snapshot is taken."""

_encode = msgspec.json.Encoder().encode


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate as its inline read model shows it, when it has no table of its own.

    `name` is a natural key within its kind and account, or within its kind where there is no
    account; `due_at` is when a sweep has to see to it; `data` is a JSON object.
    """

    account_id: UUID | None
    name: str | None
    status: str
    due_at: datetime | None
    created_at: datetime
    data: bytes


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """`evolve(state | None, event) -> state`; `ended(state)`: not worth keeping in memory.

    States are of the class `state`, and have an `id` and a `version`. `snapshot(state, meta) ->
    Event` is there where loading needs one; `document(state)` where the append keeps a `Document`
    of each state under `name`.
    """

    name: str
    state: type[Any]
    events: frozenset[type[Event]] = frozenset()
    evolve: Callable[[Any, Event], Any]
    ended: Callable[[Any], bool]
    snapshot: Callable[[Any, Metadata], Event] | None = None
    document: Callable[[Any], Document] | None = None


class Stream(NamedTuple):
    """One aggregate's stream of events."""

    aggregate: Aggregate
    id: UUID


def _task_ended(state: task.Task) -> bool:
    return state.ended


def _schedule_ended(state: schedule.Schedule) -> bool:
    return state.ended


def _schedule_document(state: schedule.Schedule) -> Document:
    return Document(
        account_id=state.account_id,
        name=state.name,
        status=state.status,
        due_at=state.next_at,
        created_at=state.created_at,
        data=msgspec.json.encode(state),
    )


def _pause_document(state: pause.Pause) -> Document:
    return Document(
        account_id=state.account_id,
        name=f"{state.kind}:{state.name}",
        status=state.status,
        due_at=None,
        created_at=state.created_at,
        data=msgspec.json.encode(state),
    )


def _publication_document(state: publication.Publication) -> Document:
    return Document(
        account_id=None,
        name=f"{state.kind}:{state.name}",
        status="published",
        due_at=None,
        created_at=state.created_at,
        data=_encode(state),
    )


def _never(_: object) -> bool:
    return False


def _once_used(_: object) -> bool:
    return True


def _group_ended(state: group.Group) -> bool:
    return state.ended


def _group_document(state: group.Group) -> Document:
    return Document(
        account_id=state.account_id,
        name=state.key,
        status=state.status,
        due_at=None,
        created_at=state.created_at,
        data=_encode(state.without_inputs()),
    )


TASKS = Aggregate(
    name="task",
    state=task.Task,
    events=frozenset(get_args(TaskEvent)),
    evolve=task.evolve,
    ended=_task_ended,
)
LEDGERS = Aggregate(
    name="ledger",
    state=ledger.CreditLedger,
    events=frozenset(get_args(LedgerEvent)),
    evolve=ledger.evolve,
    ended=_never,
    snapshot=ledger.snapshot,
)
GROUPS = Aggregate(
    name="group",
    state=group.Group,
    events=frozenset(get_args(GroupEvent)),
    evolve=group.evolve,
    ended=_group_ended,
    document=_group_document,
)
SCHEDULES = Aggregate(
    name="schedule",
    state=schedule.Schedule,
    events=frozenset(get_args(ScheduleEvent)),
    evolve=schedule.evolve,
    ended=_schedule_ended,
    document=_schedule_document,
)
PAUSES = Aggregate(
    name="pause",
    state=pause.Pause,
    events=frozenset(get_args(PauseEvent)),
    evolve=pause.evolve,
    ended=_never,
    document=_pause_document,
)
PUBLICATIONS = Aggregate(
    name="publication",
    state=publication.Publication,
    events=frozenset(get_args(PublicationEvent)),
    evolve=publication.evolve,
    ended=_never,
    document=_publication_document,
)
REFERENCES = Aggregate(
    name="reference",
    state=reference.Reference,
    events=frozenset({reference.ReferenceUsed}),
    evolve=reference.evolve,
    ended=_once_used,
)
AGGREGATES = (TASKS, LEDGERS, GROUPS, SCHEDULES, PAUSES, PUBLICATIONS, REFERENCES)
AGGREGATE_OF: Mapping[type[Event], Aggregate] = MappingProxyType(
    {event_type: aggregate for aggregate in AGGREGATES for event_type in aggregate.events}
)
"""The kind of aggregate that an event is of; each event is of one."""
AGGREGATE_WITH: Mapping[type[Any], Aggregate] = MappingProxyType(
    {aggregate.state: aggregate for aggregate in AGGREGATES}
)
"""The kind of aggregate whose states are of a class."""
