"""The history of an account: the facts that the lines of its statement name, and all others."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from adapters.log import BIGINT_MAX
from service.account_history import facts_before
from service.http.accounts import SETTLING, settled_balance
from service.http.answer import Answer
from service.http.call import Call
from service.http.history import HistoryEntry, history_entry
from service.http.pages import Page, Paging, page_answer, page_limit, position_of
from service.http.route import ADMIN, route


class AccountHistoryQuery(Paging, frozen=True, kw_only=True):
    """All facts, or that of one `version` alone."""

    version: Annotated[int, Meta(ge=1, lt=BIGINT_MAX)] | None = None


@route(
    "GET",
    "/v1/accounts/{id}/history",
    scopes=ADMIN,
    given=AccountHistoryQuery,
    answers={200: Page[HistoryEntry]},
    refusals=("not_found", "invalid_cursor", "event_unreadable", *SETTLING),
)
async def get_account_history(call: Call, query: AccountHistoryQuery) -> Answer:
    """What happened to an account, by whom and why, newest first.

    A line of the statement names its fact by `version`.
    """
    limit, position = page_limit(call, query), position_of(call, query)
    account = await settled_balance(call, call.id("acct"))
    if query.version is not None:
        before, limit = query.version + 1, 1
    else:
        before = int.from_bytes(position) if position else account.version + 1
    facts = await facts_before(call.service.log, account.id, before, limit)
    items = [history_entry(fact, None) for fact in facts]
    oldest = facts[-1].event.originator_version if facts else 1
    more = query.version is None and oldest > 1
    return page_answer(call, query, items, oldest.to_bytes(8) if more else None)


ROUTES = (get_account_history,)
