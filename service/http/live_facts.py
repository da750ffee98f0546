"""What a stream tells: facts, the present state and progress, each as one server-sent event."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta
from msgspec.structs import replace

from adapters.light_progress import LightProgress
from adapters.queries import TaskView
from domain.balance import Balance
from domain.event import Event
from domain.ledger_events import LedgerEvent
from domain.task import Task
from domain.task_events import TaskCompleted
from service.http.accounts import AccountResource, account_resource
from service.http.fact import Fact, Reader
from service.http.history import HistoryEntry, history_entry
from service.http.task_resource import TaskId, TaskResource, task_resource
from service.identifiers import Prefix, public_id

Position = Annotated[int, Meta(ge=0, description="Place in the log; the event's `id`.")]
_encode = msgspec.json.Encoder().encode
_PREFIXES: dict[str, Prefix] = {"group": "group", "schedule": "sched"}
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    """The task as it is at `position`: what a stream of a task begins with."""

    position: Position
    task: TaskResource


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """The account as it is at `position`: what a stream of an account begins with."""

    position: Position
    account: AccountResource


class TaskFact(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a task, and the task right after it.

    `task` comes without its input, and with its result only in the task's own stream.
    """

    type: Annotated[str, Meta(examples=["task.started"])]
    position: Position
    at: datetime
    task: TaskResource


class AccountFact(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to another thing of the account, at this `version` of it."""

    type: str
    position: Position
    at: datetime
    id: str
    version: int


class TaskProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a running task has come between its facts; `version` is that of its last one."""

    task_id: TaskId
    version: int
    percent: int
    message: str | None
    completed: int | None
    total: int | None
    stage: str | None


def reader_of(account_id: UUID | None, task_id: UUID | None = None) -> Reader:
    """A reader who is told in the words of this module."""
    return Reader(account_id=account_id, task_id=task_id, tell=_told, tell_progress=task_progress)


def _told(fact: Fact, reader: Reader) -> bytes:
    return frame(fact.recorded.event.TOPIC, _data(fact, reader), fact.position)


def _data(fact: Fact, reader: Reader) -> TaskFact | HistoryEntry | AccountFact:
    event = fact.recorded.event
    if fact.task is not None:
        return TaskFact(
            type=event.TOPIC,
            position=fact.position,
            at=event.meta.at,
            task=_resource(fact.task, event, reader),
        )
    if isinstance(event, LedgerEvent):
        return history_entry(fact.recorded, reader.account_id)
    return AccountFact(
        type=event.TOPIC,
        position=fact.position,
        at=event.meta.at,
        id=_public_id(event),
        version=event.originator_version,
    )


def _public_id(event: Event) -> str:
    prefix = _PREFIXES.get(event.TOPIC.partition(".")[0])
    return public_id(prefix, event.originator_id) if prefix else event.originator_id.hex


def _resource(task: Task, event: Event, reader: Reader) -> TaskResource:
    resource = task_resource(task, operator=reader.account_id is None, documents=False)
    if reader.task_id is not None and isinstance(event, TaskCompleted):
        return replace(resource, result=event.result)
    return resource


def frame(name: str, data: object, position: int | None = None) -> bytes:
    """One server-sent event. JSON has its line ends only between values, where blanks do as well.

    One without a position leaves the client's last event id as it is.
    """
    head = b"" if position is None else b"id: %d\n" % position
    return b"%sevent: %s\ndata: %s\n\n" % (
        head,
        name.encode(),
        _encode(data).translate(_LINE_ENDS),
    )


def task_state(view: TaskView, position: int, *, operator: bool) -> bytes:
    """The event that a task's stream begins with."""
    resource = replace(task_resource(view.task, operator=operator, view=view), input=UNSET)
    return frame("task", TaskState(position=position, task=resource), position)


def account_state(balance: Balance, position: int) -> bytes:
    """The event that an account's stream begins with."""
    state = AccountState(position=position, account=account_resource(balance))
    return frame("account", state, position)


def task_progress(light: LightProgress) -> bytes:
    """Without a position: it is no fact, and not given again."""
    fields = msgspec.structs.asdict(light) | {"task_id": public_id("task", light.task_id)}
    return frame("progress", TaskProgress(**fields))


def moved_on(position: int) -> bytes:
    """A comment that lets the client resume from here: nothing of its own lies before."""
    return b":\nid: %d\n\n" % position
