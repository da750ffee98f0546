"""Whose a task is, or another thing: it never changes, so nobody need ask each time."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.errors import NotFound

OWNERS_MAX = 50_000
_QUERY = "SELECT account_id FROM tasks WHERE id = %(task_id)s"


class Owners:
    """Account of each stream lately claimed or asked for, at most OWNERS_MAX; None: of nobody."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._accounts: dict[UUID, UUID | None] = {}

    def remember(self, task_id: UUID, account_id: UUID | None) -> None:
        if len(self._accounts) >= OWNERS_MAX:
            self._accounts.clear()
        self._accounts[task_id] = account_id

    async def account_of(self, task_id: UUID) -> UUID:
        """Raises `NotFound`, `Unavailable`."""
        known = self._accounts.get(task_id)
        if known is not None:
            return known
        rows = await fetch(self._pool, _QUERY, {"task_id": task_id})
        if not rows:
            raise NotFound("There is no such task.")
        account_id: UUID = rows[0][0]
        self.remember(task_id, account_id)
        return account_id

    async def accounts_of(self, stream_ids: Collection[UUID]) -> dict[UUID, UUID | None]:
        """Of all these, with one query for those not known. Raises `Unavailable`."""
        found = {i: self._accounts[i] for i in stream_ids if i in self._accounts}
        unknown = [i for i in stream_ids if i not in found]
        if unknown:
            found |= dict.fromkeys(unknown)
            found.update(await fetch(self._pool, statement("select_owners"), {"ids": unknown}))
            for stream_id in unknown:
                self.remember(stream_id, found[stream_id])
        return found
