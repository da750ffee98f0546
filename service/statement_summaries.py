"""A period of an account's statement, from its opening and up to now unless it is said."""

from __future__ import annotations

from datetime import datetime

from adapters.statement_summary import StatementSummary, summarize
from domain.balance import Balance
from service.bootstrap import Service
from service.span import guard_span


async def summary_of(
    service: Service, account: Balance, since: datetime | None, until: datetime | None
) -> StatementSummary:
    """Raises `InvalidInput` for a time that ends before it begins, `Unavailable`.

    Up to before the account was opened there was nothing.
    """
    until = service.clock.now() if until is None else until
    since = min(account.opened_at, until) if since is None else since
    guard_span(since, until)
    return await summarize(service.pool, account.id, since, until)
