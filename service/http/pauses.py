"""Admins pause and resume the queue: for a task type, an account, or a provider."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from adapters.decision import States
from domain.event import TEXT_LENGTH_MAX, Name
from domain.pause import Pause, PauseStatus, gate_id
from domain.pause_events import GateKind
from service.http.answer import Answer, json_answer
from service.http.call import Call, Reply
from service.http.route import ADMIN, route
from service.identifiers import parse_id, public_id

_encode = msgspec.json.Encoder().encode
_Reason = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=r"\S")]


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` is that of a task type or a provider, or an account's id; `reason` is for the log."""

    kind: GateKind
    name: Name
    reason: _Reason


class PauseResource(msgspec.Struct, frozen=True, kw_only=True):
    """A gate, and its last change. One that was never paused has version 0 and nothing to tell.

    Deadlines go on while it is paused: a task that has waited for as long as its type allows fails
    as `timeout` and is refunded.
    """

    kind: GateKind
    name: str
    status: PauseStatus
    version: int
    reason: str | None = None
    actor: str | None = None
    since: datetime | None = None


class Pauses(msgspec.Struct, frozen=True, kw_only=True):
    """What is paused now, by kind and name."""

    items: list[PauseResource]


@route(
    "GET",
    "/v1/queue/pauses",
    scopes=ADMIN,
    answers={200: Pauses},
)
async def list_pauses(call: Call) -> Answer:
    """The task types, accounts and providers that are paused."""
    paused = await call.service.gates.paused()
    return json_answer(Pauses(items=[pause_resource(pause) for pause in paused]))


@route(
    "POST",
    "/v1/queue/pauses",
    scopes=ADMIN,
    given=Gate,
    answers={200: PauseResource},
    refusals=("not_found", "unknown_task_type", "limit_reached"),
    idempotent=True,
    example={"kind": "type", "name": "media_extraction", "reason": "the decoder is replaced"},
)
async def pause_queue(call: Call, given: Gate) -> Answer:
    """Start no more of these tasks. Those that run go on, and the deadlines of those that wait.

    Pausing again changes nothing, also not the reason.
    """
    name = _stored_name(given)
    reply = await call.once(
        lambda once: call.service.gates.pause(
            given.kind, name, reason=given.reason, origin=call.origin, once=once
        ),
        partial(_changed, given.kind, name),
    )
    return reply.answer()


@route(
    "POST",
    "/v1/queue/pauses/resume",
    scopes=ADMIN,
    given=Gate,
    answers={200: PauseResource},
    refusals=("not_found",),
    idempotent=True,
    example={"kind": "type", "name": "media_extraction", "reason": "the decoder is back"},
)
async def resume_queue(call: Call, given: Gate) -> Answer:
    """Start these tasks again. Resuming what is not paused changes nothing."""
    name = _stored_name(given)
    reply = await call.once(
        lambda once: call.service.gates.resume(
            given.kind, name, reason=given.reason, origin=call.origin, once=once
        ),
        partial(_changed, given.kind, name),
    )
    return reply.answer()


def pause_resource(pause: Pause) -> PauseResource:
    return PauseResource(
        kind=pause.kind,
        name=public_name(pause.kind, pause.name),
        status=pause.status,
        version=pause.version,
        reason=pause.reason,
        actor=pause.actor,
        since=pause.since,
    )


def public_name(kind: GateKind, name: str) -> str:
    """A gate's name as the API shows it: an account's id has its prefix."""
    return public_id("acct", UUID(hex=name)) if kind == "account" else name


def _stored_name(gate: Gate) -> str:
    return parse_id("acct", gate.name).hex if gate.kind == "account" else gate.name


def _changed(kind: GateKind, name: str, states: States) -> Reply:
    pause: Pause | None = states[gate_id(kind, name)]
    if pause is None:
        resource = PauseResource(kind=kind, name=public_name(kind, name), status="open", version=0)
    else:
        resource = pause_resource(pause)
    return Reply(200, _encode(resource))


ROUTES = (list_pauses, pause_queue, resume_queue)
