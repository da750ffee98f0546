"""Users' verbs for groups: start, read, list, cancel and retry several tasks as one."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from adapters.decision import States
from adapters.documents import DocumentFilter
from adapters.group_refunds import group_refunds
from domain.errors import InvalidInput, NotFound
from domain.event import NAME_LENGTH_MAX, Name
from domain.group import MEMBERS_MAX, Group, GroupStatus
from service.group_kinds import MemberSubmission
from service.groups import GroupSubmission, group_id_of
from service.http.answer import Answer, Headers, etag, json_answer
from service.http.call import Call, Reply
from service.http.document_pages import document_views
from service.http.group_resource import GroupResource, group_path, group_resource
from service.http.pages import Page, Paging, page_answer
from service.http.preferences import expected_versions, matches
from service.http.route import USER, USER_OR_ADMIN, route
from service.http.task_resource import AccountId, JsonObject, Priority
from service.http.tasks import VARY, Cancellation, Retry, account_wanted
from service.identifiers import new_id

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Group).decode
_LINKS = {
    name: (operation, "id", "$response.body#/id")
    for name, operation in (
        ("get", "get_group"),
        ("cancel", "cancel_group"),
        ("retry", "retry_group"),
        ("history", "get_group_history"),
    )
}


class NewMember(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`input` is a JSON object of the form that the task type asks for."""

    type: Name
    input: JsonObject


class NewGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `members`, under any `kind` of your own, or the `input` of a kind that makes them.

    `key` is a name of your own for the group, within its kind: starting it again while it is at
    work or done gives the same group. At most `parallel_max` members are at work at one time.
    """

    kind: Name
    key: Name | None = None
    members: Annotated[tuple[NewMember, ...], Meta(max_length=MEMBERS_MAX)] = ()
    input: JsonObject = msgspec.field(default_factory=Raw)
    priority: Priority = "normal"
    project: Name | None = None
    parallel_max: Annotated[int, Meta(ge=1, le=MEMBERS_MAX)] | None = None


class GroupQuery(Paging, frozen=True, kw_only=True):
    """Every condition that is given must hold; of several states, one."""

    status: tuple[GroupStatus, ...] = ()
    kind: Annotated[str, Meta(max_length=NAME_LENGTH_MAX)] | None = None
    key: Annotated[str, Meta(max_length=NAME_LENGTH_MAX)] | None = None
    project: Annotated[str, Meta(max_length=NAME_LENGTH_MAX)] | None = None
    account_id: AccountId | None = None


@route(
    "POST",
    "/v1/groups",
    scopes=USER,
    given=NewGroup,
    answers={202: GroupResource, 200: GroupResource},
    refusals=(
        "unknown_task_type",
        "operators_only",
        "illegal_transition",
        "insufficient_credits",
        "limit_reached",
    ),
    idempotent=True,
    example={
        "kind": "thumbnails",
        "key": "clip 7",
        "input": {"url": "https://example.com/clip.mp4", "at_seconds": [1, 5.5, 60]},
    },
    links=_LINKS,
)
async def start_group(call: Call, given: NewGroup) -> Answer:
    """Hold the price of all members and queue the first of them, in one atomic write.

    Answers 202 with a run that begins, or 200 with the group of that `key` that is at work or done.
    One of that key that failed or was cancelled begins anew. The members that are delivered are
    charged, once, when the last has ended; the rest of the hold is given back.
    """
    hold_id = new_id()
    group_id = group_id_of(call.account_id, given.kind, given.key)
    submission = GroupSubmission(
        group_id=group_id,
        hold_id=hold_id,
        account_id=call.account_id,
        kind=given.kind,
        members=_members(call, given),
        key=given.key,
        project=given.project,
        priority=given.priority,
        parallel_max=given.parallel_max,
    )
    reply = await call.once(
        lambda once: call.service.groups.start(submission, origin=call.origin, once=once),
        partial(_started, group_id, hold_id),
    )
    return reply.answer()


@route(
    "GET",
    "/v1/groups/{id}",
    scopes=USER_OR_ADMIN,
    answers={200: GroupResource, 304: None},
    refusals=("not_found",),
    waits=True,
    conditional="If-None-Match",
)
async def get_group(call: Call) -> Answer:
    """A whole group: status, progress, credits, and each member as it is now.

    With `Prefer: wait=N` the answer waits until the group has ended, at most N seconds. The entity
    tag is the version of the group's facts; progress within members and refunds come without a new
    one.
    """
    group = await visible_group(call)
    seconds = call.wait_seconds
    headers: Headers = [(b"cache-control", b"private, no-cache"), VARY]
    if seconds and not group.ended:
        await call.front.waiters.wait(group.id, seconds, call.receive)
        group = await visible_group(call)
    if seconds:
        headers.append((b"preference-applied", b"wait=%d" % seconds))
    if not group.ended:
        headers.append((b"retry-after", b"%d" % _retry_after(call, group)))
    tag = etag(group.version)
    headers.append((b"etag", tag))
    refunds = await group_refunds(call.service.pool, [group])
    if not refunds.get(group.id) and matches(call.headers.get(b"if-none-match"), tag):
        return Answer(304, headers=headers)
    views = await call.service.queries.tasks_by_id([member.task_id for member in group.members])
    known = {view.task.id: view for view in views}
    resource = group_resource(
        group, views=known, operator=not call.is_user, refunded=refunds.get(group.id, 0)
    )
    return json_answer(resource, headers=headers)


@route(
    "GET",
    "/v1/groups",
    scopes=USER_OR_ADMIN,
    given=GroupQuery,
    answers={200: Page[GroupResource]},
    refusals=("not_found", "invalid_cursor"),
)
async def list_groups(call: Call, query: GroupQuery) -> Answer:
    """Groups, newest first, without their members. Admins see those of all accounts."""
    data = {"kind": query.kind, "project": query.project}
    wanted = DocumentFilter(
        kind="group",
        account_id=account_wanted(call, query.account_id),
        statuses=query.status,
        name=query.key,
        data={name: value for name, value in data.items() if value is not None},
    )
    views, position = await document_views(call, query, wanted)
    groups = [_decode(bytes(view.data)) for view in views]
    refunds = await group_refunds(call.service.pool, groups)
    items = [
        group_resource(group, members=False, refunded=refunds.get(group.id, 0)) for group in groups
    ]
    return page_answer(call, query, items, position)


@route(
    "POST",
    "/v1/groups/{id}/cancel",
    scopes=USER_OR_ADMIN,
    given=Cancellation,
    given_optional=True,
    answers={200: GroupResource, 202: GroupResource},
    refusals=("not_found", "illegal_transition", "version_mismatch"),
    idempotent=True,
    conditional="If-Match",
    example={"reason": "no longer needed"},
)
async def cancel_group(call: Call, given: Cancellation) -> Answer:
    """Start no more members and cancel those that wait (200), or ask those that run to stop (202).

    What was delivered is charged; the rest of the hold is given back when the last has stopped.
    """
    group = await visible_group(call)
    version = _expected_version(call, group)
    reply = await call.once(
        lambda once: call.service.groups.cancel(
            group.id,
            group.account_id,
            reason=given.reason,
            origin=call.origin,
            expected_version=version,
            once=once,
        ),
        partial(_cancelled, group.id),
    )
    return reply.answer()


@route(
    "POST",
    "/v1/groups/{id}/retry",
    scopes=USER_OR_ADMIN,
    given=Retry,
    given_optional=True,
    answers={202: GroupResource},
    refusals=(
        "not_found",
        "illegal_transition",
        "version_mismatch",
        "unknown_task_type",
        "insufficient_credits",
        "limit_reached",
    ),
    idempotent=True,
    conditional="If-Match",
    example={},
)
async def retry_group(call: Call, _: Retry) -> Answer:
    """Run again what was not delivered, as new tasks, with a new hold at today's prices."""
    group = await visible_group(call)
    version = _expected_version(call, group)
    reply = await call.once(
        lambda once: call.service.groups.retry(
            group.id, group.account_id, origin=call.origin, expected_version=version, once=once
        ),
        partial(_run, 202, group.id),
    )
    return reply.answer()


async def visible_group(call: Call) -> Group:
    """The group of the path, its inputs left out. Raises `NotFound` also for somebody else's."""
    view = await call.service.documents.document("group", call.id("group"))
    if view is None or (call.is_user and view.account_id != call.account_id):
        raise NotFound("There is no such group.")
    return _decode(bytes(view.data))


def _members(call: Call, given: NewGroup) -> tuple[MemberSubmission, ...]:
    if bool(bytes(given.input)) == bool(given.members):
        sentence = "give either `members` or the `input` of a kind"
        raise InvalidInput("It is not said what the group consists of.", ("/members", sentence))
    if not given.members:
        return call.service.groups.kinds.expand(given.kind, given.input)
    return tuple(MemberSubmission(type=member.type, input=member.input) for member in given.members)


def _started(group_id: UUID, hold_id: UUID, states: States) -> Reply:
    return _run(202 if states[group_id].hold_id == hold_id else 200, group_id, states)


def _cancelled(group_id: UUID, states: States) -> Reply:
    return _run(200 if states[group_id].ended else 202, group_id, states)


def _run(status: int, group_id: UUID, states: States) -> Reply:
    resource = group_resource(states[group_id])
    return Reply(status, _encode(resource), group_path(resource.id))


def _expected_version(call: Call, group: Group) -> int | None:
    """The one version that the command may find; None for any. The command refuses others."""
    versions = expected_versions(call.headers.get(b"if-match"))
    if versions is None:
        return None
    return group.version if group.version in versions else min(versions, default=0)


def _retry_after(call: Call, group: Group) -> int:
    """Seconds until it is worth asking again: as long as one of the members at work takes."""
    now = call.service.clock.now
    types = {member.type for member in group.active}
    return min((call.front.estimates.seconds(name, None, now) for name in types), default=1)


ROUTES = (start_group, get_group, list_groups, cancel_group, retry_group)
