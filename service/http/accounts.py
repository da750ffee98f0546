"""Accounts: their balance and limits, their statement, and admins' opening and granting."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from adapters.decision import States
from adapters.pool import fetch
from adapters.queries import StatementFilter, StatementLine
from adapters.sql import statement
from domain.balance import AccountStatus, Balance
from domain.errors import NotFound
from domain.event import CREDITS_MAX, Count, Name, Text, Timestamp
from domain.ledger import GRANT_PRIORITY_DEFAULT
from domain.ledger_events import GrantKind
from domain.plan import plan_named
from projections.statement import LineKind
from service.http.answer import Answer, Headers, etag, json_answer
from service.http.call import Call, Reply
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import ADMIN, USER, route
from service.http.task_resource import AccountId
from service.identifiers import new_id, parse_id, public_id

_encode = msgspec.json.Encoder().encode


class NewAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An `id` of your own makes opening it twice a conflict."""

    plan: Name
    name: Name | None = None
    id: AccountId | None = None


class NewGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`source_ref` names the payment or promotion: the same one again grants nothing more."""

    amount: Annotated[int, Meta(ge=1, le=CREDITS_MAX)]
    kind: GrantKind
    source_ref: Name
    reason: Text = ""
    priority: Count = GRANT_PRIORITY_DEFAULT


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


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    maximum: int
    used: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks active now, and tasks begun this UTC day (read from the statement)."""

    active_tasks: Limit
    daily_tasks: Limit


class OwnAccount(AccountResource, frozen=True, kw_only=True):
    """With what the plan allows, and what is used of it."""

    limits: Limits


class StatementQuery(Paging, frozen=True, kw_only=True):
    """Lines with `since` <= at < `until`, newest first unless `order` is `oldest`."""

    since: Timestamp | None = None
    until: Timestamp | None = None
    order: Literal["newest", "oldest"] = "newest"


class StatementEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of credits; its event is the one of this `version` of the account's stream.

    `available` and `held` are the balance after it, the changes are signed.
    """

    kind: LineKind
    at: datetime
    amount: int
    available_change: int
    held_change: int
    available: int
    held: int
    version: int
    position: int
    task_id: str | None
    hold_id: str | None
    grant_id: str | None
    source_ref: str | None
    reason: str
    group_id: str | None


@route(
    "GET",
    "/v1/account",
    scopes=USER,
    answers={200: OwnAccount},
)
async def get_own_account(call: Call) -> Answer:
    """The key's own account: balance, limits, and what is used of them."""
    balance = await _balance(call, call.account_id)
    plan = plan_named(balance.plan)
    parameters = {"account_id": balance.id}
    [(today,)] = await fetch(call.service.pool, statement("count_holds_today"), parameters)
    limits = Limits(
        active_tasks=Limit(maximum=plan.active_tasks_max, used=balance.active),
        daily_tasks=Limit(maximum=plan.daily_tasks_max, used=today),
    )
    shown = msgspec.structs.asdict(account_resource(balance))
    return json_answer(OwnAccount(**shown, limits=limits))


@route(
    "GET",
    "/v1/account/statement",
    scopes=USER,
    given=StatementQuery,
    answers={200: Page[StatementEntry]},
    refusals=("invalid_cursor",),
)
async def get_own_statement(call: Call, query: StatementQuery) -> Answer:
    """Every movement of the account's credits, each with its event and its task."""
    return await _statement(call, call.account_id, query)


@route(
    "POST",
    "/v1/accounts",
    scopes=ADMIN,
    given=NewAccount,
    answers={201: AccountResource},
    refusals=("already_exists",),
    idempotent=True,
    example={"plan": "standard", "name": "Studio Ltd"},
    links={"get": ("get_account", "id", "$response.body#/id")},
)
async def open_account(call: Call, given: NewAccount) -> Answer:
    """Open an account without credits."""
    account_id = parse_id("acct", given.id) if given.id else new_id()
    reply = await call.once(
        lambda once: call.service.bus.open_account(
            account_id, plan=given.plan, name=given.name, origin=call.origin, once=once
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
    refusals=("invalid_cursor",),
)
async def list_accounts(call: Call, query: Paging) -> Answer:
    """All accounts, oldest first."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    queries = call.service.queries
    after = UUID(bytes=position) if position else None
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
    answers={200: AccountResource},
    refusals=("not_found",),
)
async def get_account(call: Call) -> Answer:
    """One account and its balance."""
    balance = await _balance(call, call.id("acct"))
    headers: Headers = [(b"cache-control", b"private, no-cache"), (b"etag", etag(balance.version))]
    return json_answer(account_resource(balance), headers=headers)


@route(
    "GET",
    "/v1/accounts/{id}/statement",
    scopes=ADMIN,
    given=StatementQuery,
    answers={200: Page[StatementEntry]},
    refusals=("not_found", "invalid_cursor"),
)
async def get_statement(call: Call, query: StatementQuery) -> Answer:
    """Every movement of an account's credits."""
    balance = await _balance(call, call.id("acct"))
    return await _statement(call, balance.id, query)


@route(
    "POST",
    "/v1/accounts/{id}/grants",
    scopes=ADMIN,
    given=NewGrant,
    answers={200: AccountResource},
    refusals=("not_found", "limit_reached"),
    idempotent=True,
    example={"amount": 1_000, "kind": "paid", "source_ref": "invoice-42", "reason": "top-up"},
)
async def grant_credits(call: Call, given: NewGrant) -> Answer:
    """Grant credits; answers with the account as it is then."""
    account_id = call.id("acct")
    reply = await call.once(
        lambda once: call.service.bus.grant(
            account_id,
            amount=given.amount,
            kind=given.kind,
            source_ref=given.source_ref,
            reason=given.reason,
            priority=given.priority,
            origin=call.origin,
            once=once,
        ),
        partial(_granted, account_id),
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


def _opened(account_id: UUID, states: States) -> Reply:
    resource = account_resource(states[account_id].balance)
    return Reply(201, _encode(resource), f"/v1/accounts/{resource.id}")


def _granted(account_id: UUID, states: States) -> Reply:
    return Reply(200, _encode(account_resource(states[account_id].balance)))


async def _balance(call: Call, account_id: UUID) -> Balance:
    balance = await call.service.queries.account(account_id)
    if balance is None:
        raise NotFound("There is no such account.")
    return balance


async def _statement(call: Call, account_id: UUID, query: StatementQuery) -> Answer:
    limit = page_limit(call, query)
    position = position_of(call, query)
    queries = call.service.queries
    wanted = StatementFilter(
        account_id=account_id,
        since=query.since,
        until=query.until,
        oldest_first=query.order == "oldest",
    )
    past = int.from_bytes(position) if position else None
    lines = await queries.statement(wanted, past=past, limit=limit)
    last = lines[-1].line.version if len(lines) == limit else None
    if last is not None and not await queries.statement(wanted, past=last, limit=1):
        last = None
    items = [_statement_entry(line) for line in lines]
    return page_answer(call, query, items, last.to_bytes(8) if last is not None else None)


def _statement_entry(recorded: StatementLine) -> StatementEntry:
    line = recorded.line
    return StatementEntry(
        kind=line.kind,
        at=line.at,
        amount=line.amount,
        available_change=line.available_change,
        held_change=line.held_change,
        available=line.available,
        held=line.held,
        version=line.version,
        position=recorded.position,
        task_id=public_id("task", line.task_id) if line.task_id else None,
        hold_id=public_id("hold", line.hold_id) if line.hold_id else None,
        grant_id=public_id("grant", line.grant_id) if line.grant_id else None,
        source_ref=line.source_ref,
        reason=line.reason,
        group_id=public_id("group", line.group_id) if line.group_id else None,
    )


ROUTES = (
    get_own_account,
    get_own_statement,
    open_account,
    list_accounts,
    get_account,
    get_statement,
    grant_credits,
)
