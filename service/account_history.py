"""What happened to an account, fact by fact: by whom, why, and what it moved."""

from __future__ import annotations

from uuid import UUID

from adapters.log import EventLog, Recorded


async def facts_before(log: EventLog, account_id: UUID, version: int, limit: int) -> list[Recorded]:
    """At most `limit` facts of the versions before this one, newest first.

    Raises `Unavailable`, `EventUnreadable`.
    """
    last = version - 1
    facts = await log.stream(account_id, after_version=max(0, last - limit), upto_version=last)
    return facts[::-1]
