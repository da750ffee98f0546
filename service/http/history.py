"""The history of a task: its facts and those of its money, as they stand in the log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from adapters.log import Recorded
from adapters.pool import fetch
from adapters.sql import statement
from domain.event import Event
from domain.group import Group
from domain.group_events import GroupEnd, GroupRetried, GroupStarted, MemberAgain, MemberTask
from domain.ledger_events import (
    CreditsCaptured,
    CreditsHeld,
    CreditsReleased,
    Grant,
    PeriodClosed,
    Slice,
)
from domain.reference import Terms
from domain.task import Task
from domain.task_events import (
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskRetried,
    TaskSubmitted,
)
from service.http.answer import Answer
from service.http.call import Call
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import USER_OR_ADMIN, route
from service.http.tasks import visible_task
from service.identifiers import Prefix, public_id

SERVICE = "service"
"""Stands for every actor but the user themselves, towards users."""
_PAID = (
    *(TaskSubmitted, TaskRetried, TaskCompleted, TaskFailed, TaskCancelled),
    *(GroupStarted, GroupRetried, *get_args(GroupEnd)),
)
_PREFIXES: dict[str, Prefix] = {
    "account_id": "acct",
    "task_id": "task",
    "next_task_id": "task",
    "reused_from": "task",
    "group_id": "group",
    "hold_id": "hold",
    "grant_id": "grant",
    "rolls_over": "grant",
}
StreamNoun = Literal["task", "group", "account"]
_STREAMS: dict[str, StreamNoun] = {"task": "task", "group": "group"}
_PARTS: dict[type[msgspec.Struct], dict[str, Prefix]] = {
    Slice: {"grant_id": "grant"},
    Grant: {"id": "grant"},
    MemberTask: {"task_id": "task"},
    MemberAgain: {"earlier": "task", "task_id": "task"},
    Terms: {"rolls_over": "grant"},
}
_INPUTS = frozenset({"input"})
"""Of members they stand in the histories of their tasks."""
_OPERATORS_ONLY = frozenset({"worker", "token"})
_CARRIED = frozenset({"grants", "holds", "source_refs", "refunds", "voided_grants"})
"""Of a closed period: everything that the ledger was, as long as it was."""


SETTLED_BEFORE_MAX = 64
"""Events of what time has brought to a ledger that are looked past for a task's own movement."""


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One fact. `position` is its place in the log, `version` that in its own stream."""

    type: Annotated[str, Meta(examples=["task.submitted", "credits.held"])]
    stream: StreamNoun
    at: datetime
    actor: str
    version: int
    position: int
    data: Annotated[dict[str, Any], Meta(description="The event's own fields.")]


@route(
    "GET",
    "/v1/tasks/{id}/history",
    scopes=USER_OR_ADMIN,
    given=Paging,
    answers={200: Page[HistoryEntry]},
    refusals=("not_found", "invalid_cursor", "event_unreadable"),
)
async def get_task_history(call: Call, query: Paging) -> Answer:
    """What happened to a task and to the credits held for it, oldest first.

    `limit` counts the task's own facts; each movement of credits comes right after its cause.
    """
    task = (await visible_task(call)).task
    return await history_page(call, query, task)


async def history_page(call: Call, query: Paging, of: Task | Group) -> Answer:
    """The page of its facts and of its money's that `query` asks for."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    after = int.from_bytes(position) if position else 0
    facts = await call.service.log.stream(of.id, after_version=after, upto_version=after + limit)
    entries = [*facts, *await _movements(call, of, facts)]
    entries.sort(key=_position)
    reader = call.account_id if call.is_user else None
    items = [history_entry(recorded, reader) for recorded in entries]
    last = after + len(facts)
    return page_answer(call, query, items, last.to_bytes(8) if last < of.version else None)


def _position(recorded: Recorded) -> int:
    return recorded.position


async def _movements(call: Call, of: Task | Group, facts: list[Recorded]) -> list[Recorded]:
    """The ledger's facts of these: each stands behind its cause, in the same append.

    Not always right behind it: what time has brought to the ledger is settled first.
    """
    paid = [fact for fact in facts if isinstance(fact.event, _PAID)]
    commands = {fact.event.meta.causation_id for fact in paid}
    parameters = {
        "positions": [fact.position + 1 for fact in paid],
        "account_id": of.account_id,
        "width": SETTLED_BEFORE_MAX,
    }
    rows = await fetch(call.service.pool, statement("select_ledger_events"), parameters)
    recorded = [Recorded(row[0], call.service.mapper.decode(row[1], row[2])) for row in rows]
    return [
        one
        for one in recorded
        if isinstance(one.event, CreditsHeld | CreditsCaptured | CreditsReleased)
        and of.id in {one.event.task_id, one.event.group_id}
        and one.event.meta.causation_id in commands
    ]


def history_entry(recorded: Recorded, reader: UUID | None) -> HistoryEntry:
    """The fact as its user, `reader`, may see it; None reads as an operator."""
    event = recorded.event
    actor = event.meta.actor
    if reader is not None and actor != public_id("acct", reader):
        actor = SERVICE
    return HistoryEntry(
        type=event.TOPIC,
        stream=_STREAMS.get(event.TOPIC.partition(".")[0], "account"),
        at=event.meta.at,
        actor=actor,
        version=event.originator_version,
        position=recorded.position,
        data=_data(event, operator=reader is None),
    )


def _data(event: Event, *, operator: bool) -> dict[str, Any]:
    """The event's own fields, ids in their public form; users do not see operators' matters."""
    hidden = {"originator_id", "originator_version", "meta"}
    if not operator:
        hidden |= _OPERATORS_ONLY
    if isinstance(event, PeriodClosed):
        hidden |= _CARRIED
    data = {
        name: _shown(name, getattr(event, name))
        for name in event.__struct_fields__
        if name not in hidden
    }
    if not operator and "failure" in data:
        data["failure"].pop("detail", None)
    return data


def _part(piece: msgspec.Struct) -> dict[str, Any]:
    """A part of an event, its ids in their public form."""
    prefixes = _PARTS.get(type(piece), {})
    return {
        name: public_id(prefixes[name], value) if name in prefixes and value else value
        for name, value in msgspec.structs.asdict(piece).items()
        if name not in _INPUTS
    }


def _shown(name: str, value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, UUID):
        return public_id(_PREFIXES[name], value)
    if isinstance(value, Raw):
        return value
    if isinstance(value, Terms):
        return _part(value)
    if isinstance(value, tuple):
        return [_part(piece) for piece in value]
    return msgspec.to_builtins(value, builtin_types=(datetime,))


ROUTES = (get_task_history,)
