"""The history of a task: its facts and those of its money, as they stand in the log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from adapters.log import Recorded
from adapters.pool import fetch
from adapters.sql import statement
from domain.event import Event
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsReleased, Slice
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
_PAID = (TaskSubmitted, TaskRetried, TaskCompleted, TaskFailed, TaskCancelled)
_PREFIXES: dict[str, Prefix] = {
    "account_id": "acct",
    "task_id": "task",
    "next_task_id": "task",
    "group_id": "group",
    "hold_id": "hold",
    "grant_id": "grant",
}
_OPERATORS_ONLY = frozenset({"worker", "token"})


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One fact. `position` is its place in the log, `version` that in its own stream."""

    type: Annotated[str, Meta(examples=["task.submitted", "credits.held"])]
    stream: Literal["task", "account"]
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
    refusals=("not_found", "invalid_cursor"),
)
async def get_task_history(call: Call, query: Paging) -> Answer:
    """What happened to a task and to the credits held for it, oldest first.

    `limit` counts the task's own facts; each movement of credits comes right after its cause.
    """
    limit = page_limit(call, query)
    task = (await visible_task(call)).task
    position = position_of(call, query)
    after = int.from_bytes(position) if position else 0
    facts = await call.service.log.stream(task.id, after_version=after, upto_version=after + limit)
    entries = [*facts, *await _movements(call, task.account_id, task.id, facts)]
    entries.sort(key=_position)
    reader = call.account_id if call.is_user else None
    items = [history_entry(recorded, reader) for recorded in entries]
    last = after + len(facts)
    return page_answer(call, query, items, last.to_bytes(8) if last < task.version else None)


def _position(recorded: Recorded) -> int:
    return recorded.position


async def _movements(
    call: Call, account_id: UUID, task_id: UUID, facts: list[Recorded]
) -> list[Recorded]:
    """The ledger's facts of these: each stands right behind its cause, in the same append."""
    positions = [fact.position + 1 for fact in facts if isinstance(fact.event, _PAID)]
    parameters = {"positions": positions, "account_id": account_id}
    rows = await fetch(call.service.pool, statement("select_ledger_events"), parameters)
    recorded = [Recorded(row[0], call.service.mapper.decode(row[1], row[2])) for row in rows]
    return [
        one
        for one in recorded
        if isinstance(one.event, CreditsHeld | CreditsCaptured | CreditsReleased)
        and one.event.task_id == task_id
    ]


def history_entry(recorded: Recorded, reader: UUID | None) -> HistoryEntry:
    """The fact as its user, `reader`, may see it; None reads as an operator."""
    event = recorded.event
    actor = event.meta.actor
    if reader is not None and actor != public_id("acct", reader):
        actor = SERVICE
    return HistoryEntry(
        type=event.TOPIC,
        stream="task" if event.TOPIC.startswith("task.") else "account",
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
    data = {
        name: _shown(name, getattr(event, name))
        for name in event.__struct_fields__
        if name not in hidden
    }
    if not operator and "failure" in data:
        data["failure"].pop("detail", None)
    return data


def _shown(name: str, value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, UUID):
        return public_id(_PREFIXES[name], value)
    if isinstance(value, Raw):
        return value
    if isinstance(value, tuple):
        return [
            {"grant_id": public_id("grant", piece.grant_id), "amount": piece.amount}
            for piece in value
            if isinstance(piece, Slice)
        ]
    return msgspec.to_builtins(value, builtin_types=(datetime,))


ROUTES = (get_task_history,)
