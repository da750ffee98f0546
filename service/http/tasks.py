"""Users' verbs: submit, read, list, cancel and retry tasks."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw
from msgspec.structs import replace

from adapters.decision import States
from adapters.queries import TaskFilter, TaskView
from adapters.standing import Standing, standing
from domain.errors import NotFound
from domain.event import NAME_LENGTH_MAX, TEXT_LENGTH_MAX, Name, Timestamp
from domain.task import PRIORITIES, Task, TaskStatus
from service.http.answer import Answer, Headers, etag, json_answer
from service.http.call import Call, Reply
from service.http.examples import SUBMISSIONS
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.preferences import expected_versions, matches
from service.http.route import USER, USER_OR_ADMIN, route
from service.http.task_resource import (
    AccountId,
    Priority,
    TaskResource,
    group_in,
    task_path,
    task_resource,
)
from service.http.throttle import QueuePlace, place_of, throttles
from service.identifiers import new_id, parse_id
from service.submission import Submission

VARY = (b"vary", b"Prefer")
_JUST_AFTER = timedelta(microseconds=1)
_encode = msgspec.json.Encoder().encode
_TASK_LINKS = {
    name: (operation, "id", "$response.body#/id")
    for name, operation in (
        ("get", "get_task"),
        ("cancel", "cancel_task"),
        ("retry", "retry_task"),
        ("history", "get_task_history"),
    )
}


class NewTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`input` is a JSON object of the form that the task type asks for.

    Without `cache` it is worked on even where a result could be reused.
    """

    type: Name
    input: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
    priority: Priority = "normal"
    project: Name | None = None
    not_before: Timestamp | None = None
    cache: bool = True


class Cancellation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`reason` is kept with the event."""

    reason: Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)] = ""


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing needs saying."""


class TaskQuery(Paging, frozen=True, kw_only=True):
    """Every condition that is given must hold; of several of one kind, one."""

    status: tuple[TaskStatus, ...] = ()
    type: tuple[Name, ...] = ()
    project: Annotated[str, Meta(max_length=NAME_LENGTH_MAX)] | None = None
    created_after: Timestamp | None = None
    created_before: Timestamp | None = None
    account_id: AccountId | None = None


@route(
    "POST",
    "/v1/tasks",
    scopes=USER,
    given=NewTask,
    answers={202: TaskResource, 200: TaskResource},
    refusals=(
        "unknown_task_type",
        "operators_only",
        "storage_full",
        "illegal_transition",
        "insufficient_credits",
        "limit_reached",
    ),
    idempotent=True,
    waits=True,
    example={"type": "media_extraction", "input": {"url": "https://example.com/clip.mp4"}},
    examples={name: {"type": name, "input": given} for name, given in SUBMISSIONS.items()},
    links=_TASK_LINKS,
)
async def submit_task(call: Call, given: NewTask) -> Answer:
    """Hold the type's price and queue a task, in one atomic write.

    Answers 202 at once, or with `Prefer: wait=N` 200 with the ended task if it ends within N
    seconds. Where the type reuses results and has one of the same input that is young enough, the
    task is completed with it at once, for the type's price of that: 200 with `reused_from`.
    `cache: false` has it worked on anew.

    A request that is sent again with its `Idempotency-Key` gets the first answer, or with
    `Prefer: wait` the task as it has become.
    """
    task_id = new_id()
    submission = Submission(
        task_id=task_id,
        account_id=call.account_id,
        type=given.type,
        input=given.input,
        priority=given.priority,
        project=given.project,
        not_before=given.not_before,
        cache=given.cache,
    )
    place = _place(call, given)
    reply = await call.once(
        lambda once: call.service.bus.submit(submission, origin=call.origin, once=once),
        partial(_accepted, task_id, place=place),
    )
    if reply.status == HTTPStatus.OK:
        return reply.answer(VARY)
    seconds = call.front.estimates.seconds(
        given.type,
        given.not_before,
        call.service.clock.now,
        starts_in=place.starts_in_seconds if place else None,
    )
    return await _awaited(call, reply, (b"retry-after", b"%d" % seconds))


@route(
    "GET",
    "/v1/tasks/{id}",
    scopes=USER_OR_ADMIN,
    answers={200: TaskResource, 304: None},
    refusals=("not_found",),
    waits=True,
    conditional="If-None-Match",
)
async def get_task(call: Call) -> Answer:
    """A whole task: status, progress, attempts, result or failure, credits, times.

    With `Prefer: wait=N` the answer waits until the task has ended, at most N seconds. The entity
    tag is the version of the facts; progress between stages comes without a new one, and so do
    `throttled` and `queue`; a task with a refund, or that ended in a group, is never a 304: its
    `money` changes by facts of others.
    """
    view = await visible_task(call)
    seconds = call.wait_seconds
    headers: Headers = [(b"cache-control", b"private, no-cache"), VARY]
    if seconds and not view.task.ended:
        await call.front.waiters.wait(view.task.id, seconds, call.receive)
        view = await visible_task(call)
    if seconds:
        headers.append((b"preference-applied", b"wait=%d" % seconds))
    stands = await _standing(call, view.task)
    place = place_of(stands) if stands else None
    if not view.task.ended:
        headers.append((b"retry-after", b"%d" % _retry_after(call, view, place)))
    tag = etag(view.task.version)
    headers.append((b"etag", tag))
    own = not view.refunded and not (view.task.ended and view.task.group_id)
    if own and matches(call.headers.get(b"if-none-match"), tag):
        return Answer(304, headers=headers)
    resource = replace(
        task_resource(view.task, operator=not call.is_user, view=view),
        throttled=throttles(stands) if stands else (),
        queue=place,
    )
    return json_answer(resource, headers=headers)


@route(
    "GET",
    "/v1/tasks",
    scopes=USER_OR_ADMIN,
    given=TaskQuery,
    answers={200: Page[TaskResource]},
    refusals=("not_found", "invalid_cursor"),
)
async def list_tasks(call: Call, query: TaskQuery) -> Answer:
    """Tasks, newest first, without their input and result. Admins see those of all accounts."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    wanted = TaskFilter(
        account_id=account_wanted(call, query.account_id),
        statuses=query.status,
        types=query.type,
        project=query.project,
        created_from=query.created_after and query.created_after + _JUST_AFTER,
        created_before=query.created_before,
    )
    before = UUID(bytes=position) if position else None
    views = await call.service.queries.tasks(wanted, before=before, limit=limit)
    last = views[-1].task.id if len(views) == limit else None
    if last and not await call.service.queries.tasks(wanted, before=last, limit=1):
        last = None
    items = [
        task_resource(view.task, operator=not call.is_user, view=view, documents=False)
        for view in views
    ]
    return page_answer(call, query, items, last.bytes if last else None)


@route(
    "POST",
    "/v1/tasks/{id}/cancel",
    scopes=USER_OR_ADMIN,
    given=Cancellation,
    given_optional=True,
    answers={200: TaskResource, 202: TaskResource},
    refusals=("not_found", "illegal_transition", "version_mismatch"),
    idempotent=True,
    conditional="If-Match",
    example={"reason": "no longer needed"},
)
async def cancel_task(call: Call, given: Cancellation) -> Answer:
    """Cancel a queued task (200), or ask the worker of a running one to stop (202).

    `credits` in the answer says what was charged and given back; a running task keeps its hold
    until its worker stops.
    """
    task_id, account_id = await _target(call)
    version = await _expected_version(call, task_id)
    reply = await call.once(
        lambda once: call.service.bus.cancel(
            task_id,
            account_id,
            reason=given.reason,
            origin=call.origin,
            expected_version=version,
            once=once,
        ),
        partial(_cancelled, task_id),
    )
    return reply.answer()


@route(
    "POST",
    "/v1/tasks/{id}/retry",
    scopes=USER_OR_ADMIN,
    given=Retry,
    given_optional=True,
    answers={202: TaskResource},
    refusals=(
        "not_found",
        "member_of_group",
        "illegal_transition",
        "version_mismatch",
        "insufficient_credits",
        "limit_reached",
    ),
    idempotent=True,
    conditional="If-Match",
    example={},
)
async def retry_task(call: Call, _: Retry) -> Answer:
    """Open the next run of a failed task, with a new hold at today's price.

    A member of a group is run again by a retry of the group.
    """
    task_id, account_id = await _target(call)
    version = await _expected_version(call, task_id)
    reply = await call.once(
        lambda once: call.service.bus.retry(
            task_id, account_id, origin=call.origin, expected_version=version, once=once
        ),
        partial(_accepted, task_id),
    )
    return reply.answer()


def _place(call: Call, given: NewTask) -> QueuePlace | None:
    """Where the new task will stand; None for one whose time is to come, or while unknown."""
    if given.not_before is not None:
        return None
    return call.front.estimates.place(given.type, PRIORITIES[given.priority])


async def _standing(call: Call, task: Task) -> Standing | None:
    if not task.claimable:
        return None
    running_max = call.service.types.running_tasks_max(task.type)
    return await standing(call.service.pool, task.id, running_max)


def _accepted(task_id: UUID, states: States, place: QueuePlace | None = None) -> Reply:
    task = states[task_id]
    queue = UNSET if place is None or task.ended else place
    resource = task_resource(task, queue=queue)
    return Reply(200 if task.ended else 202, _encode(resource), task_path(resource.id))


def _cancelled(task_id: UUID, states: States) -> Reply:
    task = states[task_id]
    resource = task_resource(task, group=group_in(states, task))
    return Reply(200 if task.ended else 202, _encode(resource))


async def _awaited(call: Call, reply: Reply, *more: tuple[bytes, bytes]) -> Answer:
    """The reply, or the task itself if the client prefers to wait and it ends in time."""
    seconds = call.wait_seconds
    if not seconds:
        return reply.answer(VARY, *more)
    applied = (b"preference-applied", b"wait=%d" % seconds)
    assert reply.location is not None
    task_id = parse_id("task", reply.location.rpartition("/")[2])
    await call.front.waiters.wait(task_id, seconds, call.receive)
    view = await call.service.queries.task(task_id)
    if view is None or not view.task.ended:
        return reply.answer(VARY, applied, *more)
    ended = Reply(200, _encode(task_resource(view.task, view=view)), reply.location, reply.replayed)
    return ended.answer(VARY, applied)


async def visible_task(call: Call) -> TaskView:
    """The task of the path. Raises `NotFound` also for somebody else's."""
    view = await call.service.queries.task(call.id("task"))
    if view is None or (call.is_user and view.task.account_id != call.account_id):
        raise NotFound("There is no such task.")
    return view


async def _target(call: Call) -> tuple[UUID, UUID]:
    """The task of the path and its account, which for a user is taken to be their own."""
    task_id = call.id("task")
    if call.is_user:
        return task_id, call.account_id
    return task_id, await call.front.owners.account_of(task_id)


async def _expected_version(call: Call, task_id: UUID) -> int | None:
    """The one version that the command may find; None for any. The command refuses others."""
    versions = expected_versions(call.headers.get(b"if-match"))
    if versions is None:
        return None
    if len(versions) > 1:
        view = await call.service.queries.task(task_id)
        if view is not None and view.task.version in versions:
            return view.task.version
    return min(versions, default=0)


def account_wanted(call: Call, account_id: str | None) -> UUID | None:
    """Whose tasks are listed. Raises `NotFound` when a user asks for another account's."""
    asked = parse_id("acct", account_id) if account_id else None
    if not call.is_user:
        return asked
    if asked not in {None, call.account_id}:
        raise NotFound("There is no such account.")
    return call.account_id


def _retry_after(call: Call, view: TaskView, place: QueuePlace | None) -> int:
    task = view.task
    return call.front.estimates.seconds(
        task.type,
        task.not_before,
        call.service.clock.now,
        starts_in=place.starts_in_seconds if place else None,
    )


ROUTES = (submit_task, get_task, list_tasks, cancel_task, retry_task)
