"""Retrying failed tasks in bulk, by filter or by id, with a preview of what it would cost."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from adapters.decision import States
from adapters.failed_tasks import FailedFilter
from domain.bulk_retry import RETRIES_MAX
from domain.errors import InvalidInput, NotFound
from domain.event import Name, Timestamp
from domain.failure import FailureType
from service.bulk_retries import Bulk, Retries
from service.http.answer import Answer
from service.http.call import Call, Reply
from service.http.route import USER_OR_ADMIN, route
from service.http.task_resource import AccountId, TaskId
from service.identifiers import parse_id, public_id

TYPES_MAX = 50
_encode = msgspec.json.Encoder().encode


class FailedTaskFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every condition that is given must hold; of several of one kind, one."""

    type: Annotated[tuple[Name, ...], Meta(max_length=TYPES_MAX)] = ()
    project: Name | None = None
    failure_type: Annotated[tuple[FailureType, ...], Meta(max_length=TYPES_MAX)] = ()
    failed_after: Timestamp | None = None
    failed_before: Timestamp | None = None


class BulkRetryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `tasks` or `filter`; an empty filter is all that failed. Admins name the account."""

    filter: FailedTaskFilter | None = None
    tasks: Annotated[tuple[TaskId, ...], Meta(max_length=RETRIES_MAX)] = ()
    tasks_max: Annotated[int, Meta(ge=1, le=RETRIES_MAX)] = RETRIES_MAX
    preview: bool = False
    account_id: AccountId | None = None


class RefusedRetry(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is that of the problem which a retry of this task alone would be refused with."""

    id: TaskId
    code: str
    detail: str


class BulkRetryResource(msgspec.Struct, frozen=True, kw_only=True):
    """`matched` tasks were looked at; `more` says that others may fit.

    `retried`, the first to have failed first, are those that credits and limits allow; with
    `preview` nothing was done yet. `credits_needed` is today's price of all of `matched` that can
    be retried, `credits_held` that of `retried`; `available` is the balance before.
    """

    preview: bool
    matched: int
    more: bool
    credits_needed: int
    credits_held: int
    available: int
    retried: list[TaskId]
    refused: list[RefusedRetry]


@route(
    "POST",
    "/v1/tasks/retries",
    scopes=USER_OR_ADMIN,
    given=BulkRetryBody,
    answers={200: BulkRetryResource},
    refusals=("not_found",),
    idempotent=True,
    example={"filter": {"failure_type": ["network", "timeout"]}, "preview": True},
)
async def retry_tasks(call: Call, given: BulkRetryBody) -> Answer:
    """Retry as many failed tasks as credits and limits allow, in one commit.

    The first to have failed are the first to be retried, each with a new hold at today's price;
    those that do not fit are told in `refused` and stay as they are. With `preview` the same is
    decided and nothing is done. Members of groups are retried with their group alone.
    """
    asked = _asked(call, given)
    retries = call.service.bulk_retries
    bulk = await retries.find(asked)
    reply = await call.once(
        lambda once: retries.carry_out(bulk, origin=call.origin, once=once),
        partial(_told, bulk, given.preview),
    )
    return reply.answer()


def _asked(call: Call, given: BulkRetryBody) -> Retries:
    if (given.filter is None) == (not given.tasks):
        raise InvalidInput("Which tasks?", ("/filter", "give either a filter or tasks"))
    wanted = given.filter or FailedTaskFilter()
    return Retries(
        account_id=_account(call, given.account_id),
        wanted=FailedFilter(
            types=wanted.type,
            project=wanted.project,
            failure_types=wanted.failure_type,
            failed_after=wanted.failed_after,
            failed_before=wanted.failed_before,
        ),
        task_ids=tuple(parse_id("task", one) for one in given.tasks),
        tasks_max=given.tasks_max,
        preview=given.preview,
    )


def _account(call: Call, account_id: str | None) -> UUID:
    """Whose tasks are meant. Raises `NotFound` when a user names another account."""
    named = parse_id("acct", account_id) if account_id else None
    if not call.is_user:
        if named is None:
            raise InvalidInput("Whose tasks?", ("/account_id", "is needed from an admin"))
        return named
    if named not in {None, call.account_id}:
        raise NotFound("There is no such account.")
    return call.account_id


def _told(bulk: Bulk, preview: bool, _: States) -> Reply:  # noqa: FBT001 - bound by `partial`
    outcome = bulk.outcome
    decided = outcome.decided
    resource = BulkRetryResource(
        preview=preview,
        matched=outcome.matched,
        more=outcome.more,
        credits_needed=decided.credits_needed,
        credits_held=decided.credits_held,
        available=decided.available,
        retried=[public_id("task", one) for one in decided.retried],
        refused=[
            RefusedRetry(id=public_id("task", one.task_id), code=one.code, detail=one.detail)
            for one in decided.refused
        ],
    )
    return Reply(200, _encode(resource))


ROUTES = (retry_tasks,)
