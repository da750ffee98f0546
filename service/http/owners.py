"""Whose a task is, or another thing: it never changes, so nobody need ask each time."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.errors import NotFound

OWNERS_MAX = 50_000
_QUERY = "SELECT account_id, group_id FROM tasks WHERE id = %(task_id)s"


class Owner(NamedTuple):
    """`group_id` is None also where it is not known that the task has one."""

    account_id: UUID
    group_id: UUID | None


class Owners:
    """Account of each stream lately claimed or asked for, at most OWNERS_MAX; None: of nobody.

    With it goes the group of those tasks that are known to be members.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._accounts: dict[UUID, UUID | None] = {}
        self._groups: dict[UUID, UUID] = {}

    def remember(
        self, task_id: UUID, account_id: UUID | None, group_id: UUID | None = None
    ) -> None:
        if len(self._accounts) >= OWNERS_MAX:
            self._accounts.clear()
            self._groups.clear()
        self._accounts[task_id] = account_id
        if group_id is not None:
            self._groups[task_id] = group_id

    async def account_of(self, task_id: UUID) -> UUID:
        """Raises `NotFound`, `Unavailable`."""
        return (await self.of(task_id)).account_id

    async def of(self, task_id: UUID) -> Owner:
        """Raises `NotFound`, `Unavailable`."""
        known = self._accounts.get(task_id)
        if known is not None:
            return Owner(known, self._groups.get(task_id))
        rows = await fetch(self._pool, _QUERY, {"task_id": task_id})
        if not rows:
            raise NotFound("There is no such task.")
        owner = Owner(*rows[0])
        self.remember(task_id, *owner)
        return owner

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
