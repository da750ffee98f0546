"""Grants and open holds as the API shows them, and their pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.grants import burn_key
from domain.ledger import CreditLedger
from service.http.accounts import SETTLING
from service.http.answer import Answer
from service.http.call import Call
from service.http.grant_resource import (
    GrantResource,
    HoldResource,
    grant_resource,
    hold_resource,
)
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import ADMIN, USER, route

_REFUSALS = ("not_found", "invalid_cursor", "command_rejected", *SETTLING)
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_Key = tuple[int, datetime, int, int]


@route(
    "GET",
    "/v1/account/grants",
    scopes=USER,
    given=Paging,
    answers={200: Page[GrantResource]},
    refusals=_REFUSALS,
)
async def list_own_grants(call: Call, query: Paging) -> Answer:
    """The key's own grants with credits left, in the order in which they are spent."""
    return await _grants(call, query, call.account_id)


@route(
    "GET",
    "/v1/accounts/{id}/grants",
    scopes=ADMIN,
    given=Paging,
    answers={200: Page[GrantResource]},
    refusals=_REFUSALS,
)
async def list_grants(call: Call, query: Paging) -> Answer:
    """An account's grants with credits left, in the order in which they are spent."""
    return await _grants(call, query, call.id("acct"))


@route(
    "GET",
    "/v1/account/holds",
    scopes=USER,
    given=Paging,
    answers={200: Page[HoldResource]},
    refusals=_REFUSALS,
)
async def list_own_holds(call: Call, query: Paging) -> Answer:
    """The key's own open holds, by their ids."""
    return await _holds(call, query, call.account_id)


@route(
    "GET",
    "/v1/accounts/{id}/holds",
    scopes=ADMIN,
    given=Paging,
    answers={200: Page[HoldResource]},
    refusals=_REFUSALS,
)
async def list_holds(call: Call, query: Paging) -> Answer:
    """An account's open holds, by their ids."""
    return await _holds(call, query, call.id("acct"))


async def _grants(call: Call, query: Paging, account_id: UUID) -> Answer:
    """From where the page before ended in the burn order, whatever has been spent since."""
    limit, position = page_limit(call, query), position_of(call, query)
    ledger = await call.service.ledgers.state(account_id)
    after = None if position is None else _read(position)
    left = [grant for grant in ledger.grants if after is None or burn_key(grant) > after]
    page = left[:limit]
    last = _written(burn_key(page[-1])) if len(left) > limit else None
    return page_answer(call, query, list(map(grant_resource, page)), last)


async def _holds(call: Call, query: Paging, account_id: UUID) -> Answer:
    limit, position = page_limit(call, query), position_of(call, query)
    ledger = await call.service.ledgers.state(account_id)
    after = UUID(int=0) if position is None else UUID(bytes=position)
    left = sorted(hold_id for hold_id in ledger.holds if hold_id > after)
    page = left[:limit]
    items = [hold_resource(ledger.holds[hold_id]) for hold_id in page]
    return page_answer(call, query, items, page[-1].bytes if len(left) > limit else None)


def _written(key: _Key) -> bytes:
    priority, expires_at, rank, order = key
    micros = (expires_at - _EPOCH) // _MICROSECOND
    return b"".join(n.to_bytes(8) for n in (priority, micros, rank, order))


def _read(position: bytes) -> _Key:
    priority, micros, rank, order = (
        int.from_bytes(position[at : at + 8]) for at in range(0, len(position), 8)
    )
    return priority, _EPOCH + micros * _MICROSECOND, rank, order


def hold_in(ledger: CreditLedger, hold_id: UUID) -> HoldResource:
    return hold_resource(ledger.holds[hold_id])


ROUTES = (list_own_grants, list_own_holds, list_grants, list_holds)
