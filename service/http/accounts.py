"""Accounts: their balance and limits, and admins' opening and granting."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from adapters.decision import States
from adapters.past_ledgers import PastLedger
from adapters.pool import fetch
from adapters.sql import statement
from domain.balance import AccountStatus, Balance
from domain.errors import InvalidInput, NotFound
from domain.event import CREDITS_MAX, TEXT_LENGTH_MAX, Count, Credits, Name, Timestamp
from domain.ledger import GRANT_PRIORITY_DEFAULT, GrantCredits
from domain.ledger_events import GrantKind
from domain.ledger_state import day_of
from service.http.answer import Answer, Headers, etag, json_answer
from service.http.call import Call, Reply
from service.http.grant_resource import (
    GrantResource,
    HoldResource,
    grant_resource,
    hold_resource,
)
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import ADMIN, USER, route
from service.http.task_resource import AccountId
from service.identifiers import new_id, parse_id, public_id
from service.ledgers import Asked
from service.past_accounts import AT_LENGTH_MAX, past_account, read_at

SETTLING = ("overloaded", "shutting_down", "outcome_unknown")
"""A read that finds something due enters it in the log first, which may fail as a command does."""
AS_OF = ("event_unreadable", "stream_too_long")
"""Of what reads an account's past out of the log."""
Reason = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=r"\S")]
_encode = msgspec.json.Encoder().encode


class NewAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An `id` of your own makes opening it twice a conflict."""

    plan: Name
    reason: Reason
    name: Name | None = None
    id: AccountId | None = None


class NewGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`source_ref` names the payment or promotion: the same one again grants nothing more.

    With anything else but its `reason` changed it is refused (`reference_reused`).
    The credits can be held from `effective_at` until `expires_at`. `rolls_over` names a grant of
    the account that ends with this one, of which up to `rollover_max` free credits are added to the
    new one; what is held or was charged of it goes when it comes back.
    """

    amount: Annotated[int, Meta(ge=1, le=CREDITS_MAX)]
    kind: GrantKind
    source_ref: Name
    reason: Reason
    priority: Count = GRANT_PRIORITY_DEFAULT
    effective_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    rolls_over: Annotated[str, Meta(pattern="^grant_[0-9a-f]{32}$")] | None = None
    rollover_max: Credits = 0


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What time had brought, such as `credits.expired`, without being in the log yet."""

    type: str
    amount: int


class AsOf(msgspec.Struct, frozen=True, kw_only=True):
    """When the account was as it is shown: after the event of `version`, at `position` of the log.

    What was due by `at` and not in the log yet is `settled` in what is shown.
    """

    at: datetime
    version: int
    position: int
    settled: list[Due]
    grants: list[GrantResource]
    holds: list[HoldResource]


class AsOfQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The account as of `at`, a version or a time; as of now without it."""

    at: Annotated[str, Meta(min_length=1, max_length=AT_LENGTH_MAX)] | None = None


class AccountResource(msgspec.Struct, frozen=True, kw_only=True):
    """granted = pending + available + held + captured + expired + voided, always.

    `pending` credits are not effective yet, `voided` ones were taken back, `captured` is what was
    charged less what was `refunded`. `active` counts the open holds, `trials` the free tasks.
    """

    id: AccountId
    name: str | None
    plan: str
    status: AccountStatus
    version: int
    granted: int
    available: int
    held: int
    captured: int
    active: int
    pending: int
    expired: int
    voided: int
    refunded: int
    trials: int
    opened_at: datetime
    updated_at: datetime
    as_of: AsOf | UnsetType = UNSET


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    maximum: int
    used: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks active now, and tasks begun this UTC day (read from the statement).

    On a plan that is no longer in force none may begin.
    """

    active_tasks: Limit
    daily_tasks: Limit


class StorageUse(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of results and uploads that are kept, as of a count at `counted_at`, and stored since.

    `stored_bytes_max` is null where the plan has no limit, `counted_at` before the first count: a
    task of type `update_quota` counts anew.
    """

    stored_bytes: int
    stored_bytes_max: int | None
    counted_at: datetime | None


class OwnAccount(AccountResource, frozen=True, kw_only=True):
    """With what the plan allows, and what is used of it; of the past, without `storage`."""

    limits: Limits
    storage: StorageUse | UnsetType = UNSET


@route(
    "GET",
    "/v1/account",
    scopes=USER,
    given=AsOfQuery,
    answers={200: OwnAccount},
    refusals=("not_found", *SETTLING, *AS_OF),
)
async def get_own_account(call: Call, query: AsOfQuery) -> Answer:
    """The key's own account: balance, limits, and what is used of them.

    With `at` it is what it was then, exactly, with its grants and open holds in `as_of`.
    """
    if query.at is not None:
        return await _own_past(call, query.at)
    balance = await settled_balance(call, call.account_id)
    parameters = {"account_id": balance.id}
    [(today,)] = await fetch(call.service.pool, statement("count_holds_today"), parameters)
    limits = _limits(call, balance, today)
    call.note_limits(balance, today, call.service.clock.now())
    shown = msgspec.structs.asdict(account_resource(balance))
    quota = await call.service.quota.state(balance.id)
    storage = StorageUse(
        stored_bytes=quota.stored_bytes,
        stored_bytes_max=quota.stored_bytes_max,
        counted_at=quota.counted_at,
    )
    return json_answer(OwnAccount(**shown, limits=limits, storage=storage))


@route(
    "POST",
    "/v1/accounts",
    scopes=ADMIN,
    given=NewAccount,
    answers={201: AccountResource},
    refusals=("already_exists",),
    idempotent=True,
    example={"plan": "standard", "name": "Studio Ltd", "reason": "contract 7"},
    links={"get": ("get_account", "id", "$response.body#/id")},
)
async def open_account(call: Call, given: NewAccount) -> Answer:
    """Open an account without credits."""
    account_id = parse_id("acct", given.id) if given.id else new_id()
    if account_id.int == 0:
        raise InvalidInput("The id cannot be taken.", ("/id", "must not be all zeros"))
    reply = await call.once(
        lambda once: call.service.bus.open_account(
            account_id,
            plan=given.plan,
            name=given.name,
            reason=given.reason,
            origin=call.origin,
            once=once,
        ),
        partial(_opened, account_id),
    )
    return reply.answer()


@route(
    "GET",
    "/v1/accounts",
    scopes=ADMIN,
    given=Paging,
    answers={200: Page[AccountResource]},
    refusals=("invalid_cursor", *SETTLING),
)
async def list_accounts(call: Call, query: Paging) -> Answer:
    """All accounts, oldest first."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    queries = call.service.queries
    after = UUID(bytes=position) if position else None
    balances = await queries.accounts(after=after, limit=limit)
    if await call.service.ledgers.settle([balance.id for balance in balances]):
        balances = await queries.accounts(after=after, limit=limit)
    last = balances[-1].id if len(balances) == limit else None
    if last and not await queries.accounts(after=last, limit=1):
        last = None
    items = [account_resource(balance) for balance in balances]
    return page_answer(call, query, items, last.bytes if last else None)


@route(
    "GET",
    "/v1/accounts/{id}",
    scopes=ADMIN,
    given=AsOfQuery,
    answers={200: AccountResource},
    refusals=("not_found", *SETTLING, *AS_OF),
)
async def get_account(call: Call, query: AsOfQuery) -> Answer:
    """One account and its balance.

    With `at` it is what it was then, exactly, with its grants and open holds in `as_of`.
    """
    if query.at is not None:
        past = await past_account(call.service, call.id("acct"), read_at(query.at))
        return json_answer(past_resource(past))
    balance = await settled_balance(call, call.id("acct"))
    headers: Headers = [(b"cache-control", b"private, no-cache"), (b"etag", etag(balance.version))]
    return json_answer(account_resource(balance), headers=headers)


@route(
    "POST",
    "/v1/accounts/{id}/grants",
    scopes=ADMIN,
    given=NewGrant,
    answers={200: AccountResource},
    refusals=("not_found", "illegal_transition", "reference_reused", "limit_reached"),
    idempotent=True,
    example={"amount": 1_000, "kind": "paid", "source_ref": "invoice-42", "reason": "top-up"},
)
async def grant_credits(call: Call, given: NewGrant) -> Answer:
    """Grant credits; answers with the account as it is then."""
    account_id = call.id("acct")
    command = GrantCredits(
        grant_id=new_id(),
        kind=given.kind,
        amount=given.amount,
        source_ref=given.source_ref,
        priority=given.priority,
        reason=given.reason,
        effective_at=given.effective_at,
        expires_at=given.expires_at,
        rolls_over=parse_id("grant", given.rolls_over) if given.rolls_over else None,
        rollover_max=given.rollover_max,
    )
    reply = await call.once(
        lambda once: call.service.ledgers.carry_out(
            Asked(account_id=account_id, origin=call.origin, once=once), command
        ),
        partial(_granted, account_id),
        referenced=True,
    )
    return reply.answer()


def account_resource(balance: Balance) -> AccountResource:
    return AccountResource(
        id=public_id("acct", balance.id),
        name=balance.name,
        plan=balance.plan,
        status=balance.status,
        version=balance.version,
        granted=balance.granted,
        available=balance.available,
        held=balance.held,
        captured=balance.captured,
        active=balance.active,
        pending=balance.pending,
        expired=balance.expired,
        voided=balance.voided,
        refunded=balance.refunded,
        trials=balance.trials,
        opened_at=balance.opened_at,
        updated_at=balance.updated_at,
    )


async def _own_past(call: Call, at: str) -> Answer:
    past = await past_account(call.service, call.account_id, read_at(at))
    _, made = day_of(past.ledger, past.at)
    limits = _limits(call, past.ledger.balance, made)
    return json_answer(OwnAccount(**msgspec.structs.asdict(past_resource(past)), limits=limits))


def _limits(call: Call, balance: Balance, today: int) -> Limits:
    plan = call.service.plans.known(balance.plan)
    return Limits(
        active_tasks=Limit(
            maximum=0 if plan is None else plan.active_tasks_max, used=balance.active
        ),
        daily_tasks=Limit(maximum=0 if plan is None else plan.daily_tasks_max, used=today),
    )


def past_resource(past: PastLedger) -> AccountResource:
    """The account as it was, under the version that it had in the log."""
    as_of = AsOf(
        at=past.at,
        version=past.version,
        position=past.position,
        settled=[Due(type=e.TOPIC, amount=getattr(e, "amount", 0)) for e in past.settled],
        grants=list(map(grant_resource, past.ledger.grants)),
        holds=list(map(hold_resource, past.ledger.holds.values())),
    )
    shown = account_resource(past.ledger.balance)
    return msgspec.structs.replace(shown, version=past.version, as_of=as_of)


def _opened(account_id: UUID, states: States) -> Reply:
    resource = account_resource(states[account_id].balance)
    return Reply(201, _encode(resource), f"/v1/accounts/{resource.id}")


def _granted(account_id: UUID, states: States) -> Reply:
    return Reply(200, _encode(account_resource(states[account_id].balance)))


async def settled_balance(call: Call, account_id: UUID) -> Balance:
    """As of now: what time has brought since is settled first."""
    await call.service.ledgers.settle([account_id])
    balance = await call.service.queries.account(account_id)
    if balance is None:
        raise NotFound("There is no such account.")
    return balance


ROUTES = (
    get_own_account,
    open_account,
    list_accounts,
    get_account,
    grant_credits,
)
