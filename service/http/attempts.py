"""Remote workers tell what becomes of an attempt: its stages and its one end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from adapters.decision import Committed, States
from adapters.queries import TaskView
from domain.cleaning import clean_json
from domain.errors import InvalidInput
from domain.event import (
    TEXT_LENGTH_MAX,
    Name,
    Percent,
)
from domain.failure import FailureType, failure
from domain.pricing import NUMBER_MAX, UNITS_MAX, Label, Quantities, quantities_in
from service.attempt import RESULT_BYTES_MAX
from service.command import Once
from service.http.answer import Answer
from service.http.body import invalid_body
from service.http.call import Call, Reply
from service.http.route import WORKER, route
from service.http.task_resource import JsonObject, TaskResource, group_in, task_resource
from service.http.worker_requests import Token, WorkerName, known_type
from service.pricing import quantities_of
from tallystick.handler import Handler

QuantitiesGiven = Annotated[
    dict[
        Label,
        Annotated[int, Meta(ge=0, le=NUMBER_MAX)] | Annotated[float, Meta(ge=0, le=NUMBER_MAX)],
    ],
    Meta(max_length=UNITS_MAX),
]
_encode = msgspec.json.Encoder().encode


class StageReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`percent` is that of the task type's own stage, and needed for any other."""

    token: Token
    stage: Name
    percent: Percent | None = None
    worker: WorkerName | None = None


class Completion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`result` is a JSON object of the task type's form; what cannot be stored is taken out.

    `quantities` are how much it was of each unit that the type's price asks for; without them the
    type measures the result itself, if it can. The charge goes by them, at most the hold.
    """

    token: Token
    result: JsonObject
    quantities: QuantitiesGiven | None = None
    worker: WorkerName | None = None


class ReportedFailure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`message` is for users, `detail` (the cause) for operators; both are cut to their bounds."""

    type: FailureType
    message: str = ""
    detail: str = ""
    stage: str | None = None
    retryable: bool | None = None
    retry_after_seconds: Annotated[float, Meta(ge=0, le=86_400)] | None = None


class FailureReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    token: Token
    failure: ReportedFailure
    worker: WorkerName | None = None


class HandBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`reason` is kept with the event."""

    token: Token
    reason: Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)] = ""
    worker: WorkerName | None = None


attempt_route = partial(
    route,
    "POST",
    scopes=WORKER,
    idempotent=True,
    answers={200: TaskResource},
    refusals=("not_found", "lease_lost", "illegal_transition"),
)


@attempt_route(
    "/v1/worker/tasks/{id}/stage",
    given=StageReport,
    example={"token": 1, "stage": "metadata"},
)
async def reach_stage(call: Call, given: StageReport) -> Answer:
    """Record that the attempt came to a stage: a fact in the log."""

    async def command(target: Target, worker: str, once: Once | None) -> Committed:
        return await call.service.attempts.reach_stage(
            target.task_id,
            token=given.token,
            stage=given.stage,
            percent=await _stage_percent(call, target.task_id, given),
            worker=worker,
            once=once,
        )

    return await _carry_out(call, given.worker, command)


@attempt_route(
    "/v1/worker/tasks/{id}/complete",
    given=Completion,
    foreign=True,
    example={"token": 1, "result": {"duration_seconds": 60.1}},
)
async def complete_task(call: Call, given: Completion) -> Answer:
    """Record the result and charge the hold, in one atomic write; once more changes nothing."""
    stated = None if given.quantities is None else quantities_in(given.quantities)

    async def command(target: Target, worker: str, once: Once | None) -> Committed:
        result, measured = await _clean_result(call, target.task_id, given.result)
        quantities = measured if stated is None else stated
        return await call.service.attempts.complete(
            target.task_id,
            target.account_id,
            group_id=target.group_id,
            token=given.token,
            result=result,
            quantities=quantities,
            worker=worker,
            once=once,
        )

    return await _carry_out(call, given.worker, command)


@attempt_route(
    "/v1/worker/tasks/{id}/fail",
    given=FailureReport,
    foreign=True,
    example={"token": 1, "failure": {"type": "model_error", "message": "No frame was found."}},
)
async def fail_task(call: Call, given: FailureReport) -> Answer:
    """Record the failure: another attempt follows, or the hold is given back with the end.

    One atomic write; sent once more it changes nothing.
    """
    said = given.failure
    reason = failure(
        said.type,
        message=said.message,
        detail=said.detail,
        stage=said.stage,
        retryable=said.retryable,
    )

    async def command(target: Target, worker: str, once: Once | None) -> Committed:
        return await call.service.attempts.fail(
            target.task_id,
            target.account_id,
            group_id=target.group_id,
            token=given.token,
            failure=reason,
            worker=worker,
            retry_after_seconds=said.retry_after_seconds,
            once=once,
        )

    return await _carry_out(call, given.worker, command)


@attempt_route(
    "/v1/worker/tasks/{id}/release",
    given=HandBack,
    example={"token": 1, "reason": "shutting down"},
)
async def release_task(call: Call, given: HandBack) -> Answer:
    """Hand a task back unfinished; one that was asked to stop is cancelled by it."""

    async def command(target: Target, worker: str, once: Once | None) -> Committed:
        return await call.service.attempts.release(
            target.task_id,
            target.account_id,
            group_id=target.group_id,
            token=given.token,
            reason=given.reason,
            worker=worker,
            once=once,
        )

    return await _carry_out(call, given.worker, command)


class Target(NamedTuple):
    """The task of the path, whose it is, and in which group."""

    task_id: UUID
    account_id: UUID
    group_id: UUID | None


Command = Callable[[Target, str, Once | None], Awaitable[Committed]]


async def _carry_out(call: Call, worker: str | None, command: Command) -> Answer:
    """Run the worker's command on the task of the path and show what became of the task."""
    task_id = call.id("task")
    target = Target(task_id, *await call.front.owners.of(task_id))
    actor = worker or call.origin.actor
    reply = await call.once(lambda once: command(target, actor, once), partial(_done, task_id))
    return reply.answer()


def _done(task_id: UUID, states: States) -> Reply:
    task = states[task_id]
    resource = task_resource(task, operator=True, group=group_in(states, task))
    return Reply(200, _encode(resource))


async def _task_type(call: Call, task_id: UUID) -> Handler | None:
    view = await call.service.queries.task(task_id)
    return known_type(call, view.task.type) if view else None


async def _stage_percent(call: Call, task_id: UUID, given: StageReport) -> int:
    if given.percent is not None:
        return given.percent
    handler = await _task_type(call, task_id)
    percent = handler.stages.get(given.stage) if handler else None
    if percent is None:
        sentence = "is none of the type's own: send its percent along"
        raise InvalidInput("The stage is unknown.", ("/stage", sentence))
    return percent


async def _clean_result(call: Call, task_id: UUID, result: Raw) -> tuple[Raw, Quantities | None]:
    """The result without anything that cannot be stored, in the form of its type, and measured.

    Raises `InvalidInput` for one that is too large or does not fit.
    """
    cleaned: Any = clean_json(msgspec.json.decode(result))
    if not isinstance(cleaned, dict):
        raise InvalidInput("The result is no JSON object.", ("/result", "must be an object"))
    view = await call.service.queries.task(task_id)
    handler = known_type(call, view.task.type) if view else None
    if handler is not None:
        try:
            cleaned = msgspec.convert(cleaned, handler.output_type)
        except msgspec.ValidationError as error:
            raise invalid_body(error, "/result") from error
    data = msgspec.json.encode(cleaned)
    if len(data) > RESULT_BYTES_MAX:
        sentence = f"must be at most {RESULT_BYTES_MAX} bytes of JSON"
        raise InvalidInput("The result is too large.", ("/result", sentence))
    return Raw(data), _measured(call, handler, view, Raw(data))


def _measured(
    call: Call, handler: Handler | None, view: TaskView | None, result: Raw
) -> Quantities | None:
    if handler is None or view is None or handler.measure is None:
        return None
    try:
        task_input = call.service.types.read_input(handler.name, view.task.input)
    except InvalidInput:
        return None
    return quantities_of(handler, task_input, result)


ROUTES = (reach_stage, complete_task, fail_task, release_task)
