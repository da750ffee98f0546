"""The books of the service: its trial balance and what was posted over time; for admins."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.books import AccountBalance, Bucket, ComparedSum, PeriodTotal, TrialBalance
from service.books import span_of, totals, trial_balance
from service.http.answer import Answer, json_answer
from service.http.call import Call
from service.http.refusals import InvalidParameter
from service.http.route import ADMIN, route
from service.http.task_resource import AccountId
from service.identifiers import public_id


class TrialBalanceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """As of the end of a UTC `day`, or as of now."""

    day: date | None = None


class TotalsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """UTC days with `since` <= day < `until`; the last 31, with today, if neither is given."""

    since: date | None = None
    until: date | None = None
    bucket: Annotated[Bucket, Meta(description="How the days are added up.")] = "day"


class CustomersProof(msgspec.Struct, frozen=True, kw_only=True):
    """Each customer's books beside its row in the accounts table.

    `equal`: none differs, and neither do the sums. `posted`: the totals by day are the sums of the
    customers' books. `differing_ids` are the first that differ.
    """

    compared: int
    differing: int
    differing_ids: list[AccountId]
    sums: list[ComparedSum]
    equal: bool
    posted: bool


class TrialBalanceResource(msgspec.Struct, frozen=True, kw_only=True):
    """Every account of the books, all facts up to and with `position` counted in.

    `balanced`: all debits are all credits. `customers` are compared as of now, unless the journal
    is far behind: then `position` is before `head`, the log's last. Customers that the journal has
    set aside because of a fact that it cannot take are `parked_streams`.
    """

    position: int
    head: int
    until: datetime | None
    accounts: list[AccountBalance]
    debits: int
    credits: int
    balanced: bool
    parked_streams: int
    customers: CustomersProof | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Read a moment behind the log."""

    since: date
    until: date
    bucket: Bucket
    items: list[PeriodTotal]


@route(
    "GET",
    "/v1/books/trial-balance",
    scopes=ADMIN,
    given=TrialBalanceQuery,
    answers={200: TrialBalanceResource},
)
async def get_trial_balance(call: Call, query: TrialBalanceQuery) -> Answer:
    """Debits and credits of every account of the books, held against the customers' accounts."""
    try:
        found = await trial_balance(call.service.books, query.day)
    except ValueError as error:
        raise InvalidParameter("The query is invalid.", ("day", str(error))) from error
    return json_answer(trial_balance_resource(found))


@route(
    "GET",
    "/v1/books/totals",
    scopes=ADMIN,
    given=TotalsQuery,
    answers={200: Totals},
)
async def get_book_totals(call: Call, query: TotalsQuery) -> Answer:
    """What was posted to each account of the books by day, month or in total, and by task type."""
    span = span_of(call.service.clock.now(), query.since, query.until)
    items = await totals(call.service.books, span, query.bucket)
    return json_answer(Totals(since=span[0], until=span[1], bucket=query.bucket, items=items))


def trial_balance_resource(found: TrialBalance) -> TrialBalanceResource:
    return TrialBalanceResource(
        position=found.position,
        head=found.head,
        until=found.until,
        accounts=found.accounts,
        debits=found.debits,
        credits=found.credits,
        balanced=found.balanced,
        parked_streams=found.parked_streams,
        customers=_proof(found),
    )


def _proof(found: TrialBalance) -> CustomersProof | None:
    customers = found.customers
    if customers is None:
        return None
    return CustomersProof(
        compared=customers.compared,
        differing=customers.differing,
        differing_ids=[public_id("acct", one) for one in customers.differing_ids],
        sums=customers.sums,
        equal=customers.equal,
        posted=customers.posted,
    )


ROUTES = (get_trial_balance, get_book_totals)
