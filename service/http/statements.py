"""Statements: their lines, as pages or as CSV, and a period's opening, totals and closing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
import structlog
from litestar.types import Receive, Scope, Send

from adapters.queries import StatementFilter, StatementLine
from adapters.statement_summary import StatementSummary
from domain.errors import TallystickError
from domain.event import Timestamp
from projections.statement import LineKind
from service.http.accounts import SETTLING, settled_balance
from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import ADMIN, USER, route
from service.identifiers import public_id
from service.statement_csv import csv_of
from service.statement_period import Month, bounds_of
from service.statement_summaries import summary_of

MEDIA = "text/csv"
_log = structlog.get_logger(__name__)


class PeriodQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A `period`, or times with `since` <= at < `until`: up to now, and from the begin."""

    period: Month | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None


class StatementQuery(Paging, frozen=True, kw_only=True):
    """Lines of a `period`, or with `since` <= at < `until`; newest first unless told otherwise."""

    period: Month | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    order: Literal["newest", "oldest"] = "newest"


class CsvQuery(PeriodQuery, frozen=True, kw_only=True):
    """The lines of a period, or all of them."""

    order: Literal["newest", "oldest"] = "oldest"


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


class CsvAnswer(Answer):
    """Sent piece by piece, so that a long one is never whole in memory.

    What fails on the way breaks the answer off, which a client notices: its end never comes.
    """

    __slots__ = ("_pieces",)

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(200, media=MEDIA.encode())
        self.headers = [
            (b"content-type", MEDIA.encode()),
            (b"content-disposition", b'attachment; filename="statement.csv"'),
            (b"cache-control", b"no-store"),
        ]
        self._pieces = pieces

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send until the end."""
        start: Any = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        try:
            async for piece in self._pieces:
                await send(_body(piece, more=True))
        except TallystickError as error:
            _log.warning("statement.broken_off", code=error.code, error=str(error))
            return
        await send(_body(b"", more=False))


@route(
    "GET",
    "/v1/account/statement",
    scopes=USER,
    given=StatementQuery,
    answers={200: Page[StatementEntry]},
    refusals=("invalid_cursor", *SETTLING),
)
async def get_own_statement(call: Call, query: StatementQuery) -> Answer:
    """Every movement of the account's credits, each with its event and its task."""
    balance = await settled_balance(call, call.account_id)
    return await _statement(call, balance.id, query)


@route(
    "GET",
    "/v1/accounts/{id}/statement",
    scopes=ADMIN,
    given=StatementQuery,
    answers={200: Page[StatementEntry]},
    refusals=("not_found", "invalid_cursor", *SETTLING),
)
async def get_statement(call: Call, query: StatementQuery) -> Answer:
    """Every movement of an account's credits."""
    balance = await settled_balance(call, call.id("acct"))
    return await _statement(call, balance.id, query)


@route(
    "GET",
    "/v1/account/statement.csv",
    scopes=USER,
    given=CsvQuery,
    answers={200: None},
    refusals=SETTLING,
    media=(MEDIA,),
)
async def get_own_statement_csv(call: Call, query: CsvQuery) -> Answer:
    """The account's statement as CSV (RFC 4180, UTF-8), the lines of its pages, oldest first.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    return await _csv(call, call.account_id, query)


@route(
    "GET",
    "/v1/accounts/{id}/statement.csv",
    scopes=ADMIN,
    given=CsvQuery,
    answers={200: None},
    refusals=("not_found", *SETTLING),
    media=(MEDIA,),
)
async def get_statement_csv(call: Call, query: CsvQuery) -> Answer:
    """An account's statement as CSV."""
    return await _csv(call, call.id("acct"), query)


@route(
    "GET",
    "/v1/account/statement/summary",
    scopes=USER,
    given=PeriodQuery,
    answers={200: StatementSummary},
    refusals=SETTLING,
)
async def get_own_statement_summary(call: Call, query: PeriodQuery) -> Answer:
    """A period of the account's statement: opening and closing balance, totals by kind."""
    return await _summary(call, call.account_id, query)


@route(
    "GET",
    "/v1/accounts/{id}/statement/summary",
    scopes=ADMIN,
    given=PeriodQuery,
    answers={200: StatementSummary},
    refusals=("not_found", *SETTLING),
)
async def get_statement_summary(call: Call, query: PeriodQuery) -> Answer:
    """A period of an account's statement: opening and closing balance, totals by kind."""
    return await _summary(call, call.id("acct"), query)


def _wanted(account_id: UUID, query: StatementQuery | CsvQuery) -> StatementFilter:
    since, until = bounds_of(query.period, query.since, query.until)
    return StatementFilter(
        account_id=account_id,
        since=since,
        until=until,
        oldest_first=query.order == "oldest",
    )


async def _statement(call: Call, account_id: UUID, query: StatementQuery) -> Answer:
    limit = page_limit(call, query)
    position = position_of(call, query)
    queries = call.service.queries
    wanted = _wanted(account_id, query)
    past = int.from_bytes(position) if position else None
    lines = await queries.statement(wanted, past=past, limit=limit)
    last = lines[-1].line.version if len(lines) == limit else None
    if last is not None and not await queries.statement(wanted, past=last, limit=1):
        last = None
    items = [statement_entry(line) for line in lines]
    return page_answer(call, query, items, last.to_bytes(8) if last is not None else None)


def statement_entry(recorded: StatementLine) -> StatementEntry:
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


async def _csv(call: Call, account_id: UUID, query: CsvQuery) -> Answer:
    wanted = _wanted(account_id, query)
    await settled_balance(call, account_id)
    return CsvAnswer(csv_of(call.service.queries, wanted))


async def _summary(call: Call, account_id: UUID, query: PeriodQuery) -> Answer:
    since, until = bounds_of(query.period, query.since, query.until)
    account = await settled_balance(call, account_id)
    return json_answer(await summary_of(call.service, account, since, until))


def _body(piece: bytes, *, more: bool) -> Any:  # noqa: ANN401 - ASGI's
    return {"type": "http.response.body", "body": piece, "more_body": more}


ROUTES = (
    get_own_statement,
    get_statement,
    get_own_statement_csv,
    get_own_statement_summary,
    get_statement_csv,
    get_statement_summary,
)
