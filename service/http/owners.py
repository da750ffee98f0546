"""Whose a task is: it never changes, so workers' verbs need not ask each time."""

from __future__ import annotations

from uuid import UUID

from adapters.pool import Pool, fetch
from domain.errors import NotFound

OWNERS_MAX = 50_000
_QUERY = "SELECT account_id FROM tasks WHERE id = %(task_id)s"


class Owners:
    """Account of each task lately claimed or asked for, at most OWNERS_MAX."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._accounts: dict[UUID, UUID] = {}

    def remember(self, task_id: UUID, account_id: UUID) -> None:
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
