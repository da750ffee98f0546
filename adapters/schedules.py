"""Schedules in the log's database: those that an account has."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from adapters.decision import Cursor, Find
from adapters.sql import statement
from domain.aggregate import SCHEDULES, Stream


def find_schedules_of(account_id: UUID, limit: int) -> Find:
    """At most `limit` schedules of an account that are not deleted."""

    async def find(cursor: Cursor, _: Sequence[Stream]) -> Sequence[Stream]:
        parameters = {"kind": SCHEDULES.name, "account_id": account_id, "limit": limit}
        await cursor.execute(statement("select_account_schedules"), parameters, prepare=True)
        return [Stream(SCHEDULES, row[0]) for row in await cursor.fetchall()]

    return find
