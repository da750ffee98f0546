"""What a task would cost, before it is submitted; and what the plans allow."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from domain.errors import (
    DomainError,
    IllegalTransition,
    InsufficientCredits,
    LimitReached,
    StorageFull,
)
from domain.event import Name, Timestamp
from domain.pause_events import GateKind
from domain.plan import Plan
from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.price_resource import Breakdown, breakdown
from service.http.route import ANYONE_WITH_A_KEY, USER, route
from service.http.task_resource import Priority
from service.identifiers import new_id
from service.problems import problem_of
from service.quotes import Quoted
from service.submission import Submission


class QuoteAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As for a submission."""

    type: Name
    input: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
    priority: Priority = "normal"
    project: Name | None = None
    not_before: Timestamp | None = None
    cache: bool = True


class RefusalTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the submission would be answered; members after `detail` where the problem has them."""

    code: str
    status: int
    detail: str
    required: int | UnsetType = UNSET
    available: int | UnsetType = UNSET
    limit: str | UnsetType = UNSET
    maximum: int | UnsetType = UNSET
    retry_after_seconds: int | UnsetType = UNSET
    state: str | UnsetType = UNSET
    stored_bytes: int | UnsetType = UNSET
    stored_bytes_max: int | UnsetType = UNSET


class QuoteResource(msgspec.Struct, frozen=True, kw_only=True):
    """`credits` would be held: nothing for a free `trial`. `price` is what is asked without one.

    `breakdown` is the price of the work; where a result would be `reused`, `price` is the type's
    part of it. `refusal` says why it would not be accepted now. A task that is `paused` would be
    accepted and wait.
    """

    type: str
    credits: int
    price: int
    price_version: str
    breakdown: Breakdown
    trial: bool
    reused: bool
    accepted: bool
    refusal: RefusalTold | None
    paused: tuple[GateKind, ...]


class PlanResource(msgspec.Struct, frozen=True, kw_only=True):
    """`version` is that of all plans; `priority_raise` lifts each task by so many levels.

    The first `trial_tasks` tasks cost nothing. Accounts on it store at most about
    `stored_bytes_max` bytes; an `operator` may submit the types that clean up.
    """

    name: str
    version: str
    active_tasks_max: int
    daily_tasks_max: int
    weight: int
    priority_raise: int
    trial_tasks: int
    overdraft_max: int
    low_credits: int | None
    stored_bytes_max: int | None
    operator: bool


@route(
    "POST",
    "/v1/quotes",
    scopes=USER,
    given=QuoteAsked,
    answers={200: QuoteResource},
    refusals=("unknown_task_type",),
    example={"type": "media_extraction", "input": {"url": "https://example.com/clip.mp4"}},
)
async def quote_task(call: Call, given: QuoteAsked) -> Answer:
    """What a task would cost, how that comes about, and whether it would be accepted now.

    Nothing is held or written. Balance, limits and prices may have changed by the submission.
    """
    submission = Submission(
        task_id=new_id(),
        account_id=call.account_id,
        type=given.type,
        input=given.input,
        priority=given.priority,
        project=given.project,
        not_before=given.not_before,
        cache=given.cache,
    )
    quoted = await call.service.quotes.quote(submission, origin=call.origin)
    return json_answer(_quote(given.type, quoted))


def _quote(type_: str, quoted: Quoted) -> QuoteResource:
    refusal = quoted.quote.refusal
    return QuoteResource(
        type=type_,
        credits=quoted.quote.credits,
        price=quoted.price,
        price_version=quoted.estimate.price_version,
        breakdown=breakdown(quoted.estimate.bill),
        trial=quoted.quote.trial,
        reused=quoted.reused,
        accepted=refusal is None,
        refusal=None if refusal is None else _told(refusal),
        paused=quoted.paused,
    )


def _told(error: DomainError) -> RefusalTold:
    entry = problem_of(error)
    told = RefusalTold(code=entry.code, status=entry.status, detail=str(error))
    members = {name: getattr(error, name) for name in _MEMBERS.get(type(error), ())}
    known = {name: value for name, value in members.items() if value is not None}
    return msgspec.structs.replace(told, **known)


_MEMBERS: dict[type[DomainError], tuple[str, ...]] = {
    InsufficientCredits: ("required", "available"),
    LimitReached: ("limit", "maximum", "retry_after_seconds"),
    IllegalTransition: ("state",),
    StorageFull: ("stored_bytes", "stored_bytes_max"),
}


@route(
    "GET",
    "/v1/plans",
    scopes=ANYONE_WITH_A_KEY,
    given=Paging,
    answers={200: Page[PlanResource]},
    refusals=("invalid_cursor",),
)
async def list_plans(call: Call, query: Paging) -> Answer:
    """The plans in force, by name."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    after = position.decode() if position else ""
    plans = sorted((p for p in call.service.plans if p.name > after), key=lambda plan: plan.name)
    page = plans[:limit]
    more = page[-1].name.encode() if len(plans) > limit else None
    version = call.service.plans.version
    return page_answer(call, query, [_plan(plan, version) for plan in page], more)


def _plan(plan: Plan, version: str) -> PlanResource:
    return PlanResource(version=version, **msgspec.structs.asdict(plan))


ROUTES = (quote_task, list_plans)
