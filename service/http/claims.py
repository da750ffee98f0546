"""Remote workers claim tasks and keep their leases; a token fences each claim."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from adapters.queries import TaskFilter
from adapters.queue import Heartbeat
from domain.cleaning import clean_text
from domain.errors import LeaseLost
from domain.event import (
    TEXT_LENGTH_MAX,
    Name,
)
from domain.task import Task
from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import WORKER, route
from service.http.task_resource import AccountId, JsonObject, TaskId, TaskResource, task_resource
from service.http.worker_requests import Token, WorkerName, known_type
from service.identifiers import public_id

CLAIM_TASKS_MAX = 100
MESSAGE_LENGTH_MAX = 500
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]


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


class PendingQuery(Paging, frozen=True, kw_only=True):
    """No `type` means all."""

    type: tuple[Name, ...] = ()


@route(
    "GET",
    "/v1/worker/tasks",
    scopes=WORKER,
    given=PendingQuery,
    answers={200: Page[TaskResource]},
    refusals=("invalid_cursor",),
)
async def list_pending_tasks(call: Call, query: PendingQuery) -> Answer:
    """Tasks of all accounts that wait for a worker, newest first, without their input."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    wanted = TaskFilter(statuses=("queued", "backoff"), types=query.type)
    before = UUID(bytes=position) if position else None
    views = await call.service.queries.tasks(wanted, before=before, limit=limit)
    last = views[-1].task.id if len(views) == limit else None
    if last and not await call.service.queries.tasks(wanted, before=last, limit=1):
        last = None
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
    tasks = await service.attempts.claim(given.worker, types, given.limit)
    for task in tasks:
        call.front.owners.remember(task.id, task.account_id, task.group_id)
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


def _claimed(call: Call, task: Task, lease_until: datetime) -> ClaimedTask:
    handler = known_type(call, task.type)
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
    [state] = await leases.renew([beat_])
    if state == "lost":
        raise LeaseLost(task_id)
    return json_answer(LeaseAnswer(state=state, lease_until=lease_until))


ROUTES = (list_pending_tasks, claim_tasks, beat, report_progress)
