"""Remote workers' verbs: claim tasks, keep their leases, and end them; a token fences each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from adapters.decision import Committed
from adapters.queries import TaskFilter
from adapters.queue import Heartbeat
from domain.cleaning import clean_json, clean_text
from domain.errors import InvalidInput, LeaseLost
from domain.event import (
    NAME_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    Name,
    Percent,
)
from domain.failure import FailureType, failure
from domain.task import Task
from service.attempt import RESULT_BYTES_MAX
from service.http.answer import Answer, json_answer
from service.http.body import invalid_body
from service.http.call import Call
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import WORKER, route
from service.http.task_resource import AccountId, JsonObject, TaskId, TaskResource, task_resource
from service.identifiers import public_id
from tallystick.handler import Handler

CLAIM_TASKS_MAX = 100
MESSAGE_LENGTH_MAX = 500
Token = Annotated[int, Meta(ge=1, le=2**31 - 1, description="Fencing token of the claim.")]
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]


WorkerName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=NAME_LENGTH_MAX,
        pattern="^(?!acct_|key_)[!-~]+$",
        description="Printable ASCII, and not like an account's or a key's id.",
    ),
]


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`worker` names who works, in events and to operators; no `types` means all."""

    worker: WorkerName
    types: Annotated[list[Name], Meta(max_length=200)] = []
    limit: Annotated[int, Meta(ge=1, le=CLAIM_TASKS_MAX)] = 1


class ClaimedTask(msgspec.Struct, frozen=True, kw_only=True):
    """Work under a lease: send a heartbeat before `lease_until`, and `token` with every verb."""

    id: TaskId
    type: str
    account_id: AccountId
    input: JsonObject
    token: int
    run: int
    attempt: int
    lease_until: datetime
    attempt_seconds_max: int | None


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """Empty when nothing waits."""

    items: list[ClaimedTask]


class WorkProgress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fine progress; 100 is left to the completion."""

    percent: Annotated[int, Meta(ge=0, le=99)] | None = None
    message: Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)] | None = None
    completed: Amount | None = None
    total: Amount | None = None


class SignOfLife(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Renews the lease, and brings the newest progress along."""

    token: Token
    progress: WorkProgress | None = None


class ProgressReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest progress; renews the lease as well."""

    token: Token
    progress: WorkProgress


class LeaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`cancelling`: stop, and confirm with release; a lost lease is a problem (`lease_lost`)."""

    state: Literal["held", "cancelling"]
    lease_until: datetime


class StageReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`percent` is that of the task type's own stage, and needed for any other."""

    token: Token
    stage: Name
    percent: Percent | None = None
    worker: WorkerName | None = None


class Completion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`result` is a JSON object of the task type's form; what cannot be stored is taken out."""

    token: Token
    result: JsonObject
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


class PendingQuery(Paging, frozen=True, kw_only=True):
    """No `type` means all."""

    type: tuple[Name, ...] = ()


_REFUSALS = ("not_found", "lease_lost", "illegal_transition")


@route(
    "GET",
    "/v1/worker/tasks",
    scopes=WORKER,
    given=PendingQuery,
    answers={200: Page[TaskResource]},
    refusals=("invalid_cursor",),
)
async def list_pending_tasks(call: Call, query: PendingQuery) -> Answer:
    """Queued tasks of all accounts, newest first, without their input."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    wanted = TaskFilter(statuses=("queued",), types=query.type)
    before = UUID(bytes=position) if position else None
    views = await call.service.queries.tasks(wanted, before=before, limit=limit)
    last = views[-1].task.id if len(views) == limit else None
    items = [task_resource(v.task, operator=True, view=v, documents=False) for v in views]
    return page_answer(call, query, items, last.bytes if last else None)


@route(
    "POST",
    "/v1/worker/claim",
    scopes=WORKER,
    given=Claim,
    answers={200: Claimed},
    example={"worker": "gpu-3", "types": ["media_extraction"], "limit": 10},
)
async def claim_tasks(call: Call, given: Claim) -> Answer:
    """Start up to `limit` tasks, the most urgent and oldest first, each under a lease."""
    service = call.service
    lease_until = service.clock.now() + timedelta(seconds=service.leases.lease_seconds)
    types = given.types or service.types.names
    tasks = await service.bus.claim(given.worker, types, given.limit)
    for task in tasks:
        call.front.owners.remember(task.id, task.account_id)
    return json_answer(Claimed(items=[_claimed(call, task, lease_until) for task in tasks]))


@route(
    "POST",
    "/v1/worker/tasks/{id}/heartbeat",
    scopes=WORKER,
    given=SignOfLife,
    answers={200: LeaseAnswer},
    refusals=("not_found", "lease_lost"),
    foreign=True,
    example={"token": 1},
)
async def beat(call: Call, given: SignOfLife) -> Answer:
    """Renew the lease of a task, and learn whether to go on."""
    return await _renew(call, given.token, given.progress or WorkProgress())


@route(
    "POST",
    "/v1/worker/tasks/{id}/progress",
    scopes=WORKER,
    given=ProgressReport,
    answers={200: LeaseAnswer},
    refusals=("not_found", "lease_lost"),
    foreign=True,
    example={"token": 1, "progress": {"percent": 42, "message": "uploading"}},
)
async def report_progress(call: Call, given: ProgressReport) -> Answer:
    """Tell fine progress: light, not a fact, seen by who polls; renews the lease as well."""
    return await _renew(call, given.token, given.progress)


@route(
    "POST",
    "/v1/worker/tasks/{id}/stage",
    scopes=WORKER,
    given=StageReport,
    answers={200: TaskResource},
    refusals=_REFUSALS,
    example={"token": 1, "stage": "metadata"},
)
async def reach_stage(call: Call, given: StageReport) -> Answer:
    """Record that the attempt came to a stage: a fact in the log."""

    async def command(task_id: UUID, account_id: UUID, worker: str) -> Committed:
        return await call.service.bus.reach_stage(
            task_id,
            account_id,
            token=given.token,
            stage=given.stage,
            percent=await _stage_percent(call, task_id, given),
            worker=worker,
        )

    return await _carry_out(call, given.worker, command)


@route(
    "POST",
    "/v1/worker/tasks/{id}/complete",
    scopes=WORKER,
    given=Completion,
    answers={200: TaskResource},
    refusals=_REFUSALS,
    foreign=True,
    example={"token": 1, "result": {"duration_seconds": 60.1}},
)
async def complete_task(call: Call, given: Completion) -> Answer:
    """Record the result and charge the hold, in one atomic write; once more changes nothing."""

    async def command(task_id: UUID, account_id: UUID, worker: str) -> Committed:
        return await call.service.bus.complete(
            task_id,
            account_id,
            token=given.token,
            result=await _clean_result(call, task_id, given.result),
            worker=worker,
        )

    return await _carry_out(call, given.worker, command)


@route(
    "POST",
    "/v1/worker/tasks/{id}/fail",
    scopes=WORKER,
    given=FailureReport,
    answers={200: TaskResource},
    refusals=_REFUSALS,
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

    async def command(task_id: UUID, account_id: UUID, worker: str) -> Committed:
        return await call.service.bus.fail(
            task_id,
            account_id,
            token=given.token,
            failure=reason,
            worker=worker,
            retry_after_seconds=said.retry_after_seconds,
        )

    return await _carry_out(call, given.worker, command)


@route(
    "POST",
    "/v1/worker/tasks/{id}/release",
    scopes=WORKER,
    given=HandBack,
    answers={200: TaskResource},
    refusals=_REFUSALS,
    example={"token": 1, "reason": "shutting down"},
)
async def release_task(call: Call, given: HandBack) -> Answer:
    """Hand a task back unfinished; one that was asked to stop is cancelled by it."""

    async def command(task_id: UUID, account_id: UUID, worker: str) -> Committed:
        return await call.service.bus.release(
            task_id, account_id, token=given.token, reason=given.reason, worker=worker
        )

    return await _carry_out(call, given.worker, command)


def _claimed(call: Call, task: Task, lease_until: datetime) -> ClaimedTask:
    handler = _handler(call, task.type)
    return ClaimedTask(
        id=public_id("task", task.id),
        type=task.type,
        account_id=public_id("acct", task.account_id),
        input=task.input,
        token=task.token,
        run=task.run,
        attempt=task.attempt,
        lease_until=lease_until,
        attempt_seconds_max=handler.attempt_seconds_max if handler else None,
    )


def _handler(call: Call, type_: str) -> Handler | None:
    """The type, if this process knows it: other processes may have others."""
    types = call.service.types
    return types.named(type_) if type_ in types.names else None


async def _renew(call: Call, token: int, progress: WorkProgress) -> Answer:
    task_id = call.id("task")
    await call.front.owners.account_of(task_id)
    leases = call.service.leases
    lease_until = call.service.clock.now() + timedelta(seconds=leases.lease_seconds)
    message = progress.message
    beat_ = Heartbeat(
        task_id=task_id,
        token=token,
        percent=progress.percent,
        message=None if message is None else clean_text(message, MESSAGE_LENGTH_MAX),
        completed=progress.completed,
        total=progress.total,
    )
    state = (await leases.renew([beat_]))[task_id]
    if state == "lost":
        raise LeaseLost(task_id)
    return json_answer(LeaseAnswer(state=state, lease_until=lease_until))


Command = Callable[[UUID, UUID, str], Awaitable[Committed]]


async def _carry_out(call: Call, worker: str | None, command: Command) -> Answer:
    """Run the worker's command on the task of the path and show what became of the task."""
    task_id = call.id("task")
    account_id = await call.front.owners.account_of(task_id)
    committed = await command(task_id, account_id, worker or call.origin.actor)
    return json_answer(task_resource(committed.states[task_id], operator=True))


async def _task_type(call: Call, task_id: UUID) -> Handler | None:
    view = await call.service.queries.task(task_id)
    return _handler(call, view.task.type) if view else None


async def _stage_percent(call: Call, task_id: UUID, given: StageReport) -> int:
    if given.percent is not None:
        return given.percent
    handler = await _task_type(call, task_id)
    percent = handler.stages.get(given.stage) if handler else None
    if percent is None:
        sentence = "is none of the type's own: send its percent along"
        raise InvalidInput("The stage is unknown.", ("/stage", sentence))
    return percent


async def _clean_result(call: Call, task_id: UUID, result: Raw) -> Raw:
    """The result without anything that cannot be stored, in the form of its type.

    Raises `InvalidInput` for one that is too large or does not fit.
    """
    cleaned: Any = clean_json(msgspec.json.decode(result))
    if not isinstance(cleaned, dict):
        raise InvalidInput("The result is no JSON object.", ("/result", "must be an object"))
    handler = await _task_type(call, task_id)
    if handler is not None:
        try:
            cleaned = msgspec.convert(cleaned, handler.output_type)
        except msgspec.ValidationError as error:
            raise invalid_body(error, "/result") from error
    data = msgspec.json.encode(cleaned)
    if len(data) > RESULT_BYTES_MAX:
        sentence = f"must be at most {RESULT_BYTES_MAX} bytes of JSON"
        raise InvalidInput("The result is too large.", ("/result", sentence))
    return Raw(data)


ROUTES = (
    list_pending_tasks,
    claim_tasks,
    beat,
    report_progress,
    reach_stage,
    complete_task,
    fail_task,
    release_task,
)
