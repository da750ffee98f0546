"""A period of an account's statement, from its opening and up to now unless it is said."""

from __future__ import annotations

from datetime import datetime

from adapters.statement_summary import StatementSummary, summarize
from domain.balance import Balance
from service.bootstrap import Service


async def summary_of(
    service: Service, account: Balance, since: datetime | None, until: datetime | None
) -> StatementSummary:
    """Raises `ValueError` for a time that ends before it begins, `Unavailable`."""
    since = account.opened_at if since is None else since
    until = service.clock.now() if until is None else until
    if since > until:
        raise ValueError("must not be after until")
    return await summarize(service.pool, account.id, since, until)
