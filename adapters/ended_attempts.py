"""A walk over all tasks for those whose ended attempts may have left objects behind."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from adapters.attempt_states import AttemptState
from adapters.pool import Pool, fetch
from adapters.sql import statement

PAGE_TASKS = 500
_NAME = "objects"
_BEGINNING = UUID(int=0)


class EndedTask(NamedTuple):
    """A task that ended, and not with its first attempt completed."""

    id: UUID
    account_id: UUID
    state: AttemptState


class Page(NamedTuple):
    """`last` is the id that the walk came to, None at its end."""

    tasks: list[EndedTask]
    last: UUID | None


class EndedAttempts:
    """Each method is one statement; raises `Unavailable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def position(self) -> UUID:
        """Where the last walk stopped; the beginning where it came to its end."""
        query = "SELECT position FROM cleanup_positions WHERE name = %(name)s"
        rows = await fetch(self._pool, query, {"name": _NAME})
        return rows[0][0] if rows else _BEGINNING

    async def page(self, after: UUID, age_seconds: float) -> Page:
        """Of the next `PAGE_TASKS` tasks by id, those that ended longer ago than `age_seconds`."""
        parameters = {"after": after, "limit": PAGE_TASKS, "age_seconds": age_seconds}
        rows = await fetch(self._pool, statement("select_ended_attempts"), parameters)
        ended = [
            EndedTask(task_id, account_id, AttemptState(token, status))
            for task_id, account_id, token, status, left in rows
            if left
        ]
        return Page(ended, rows[-1][0] if len(rows) == PAGE_TASKS else None)

    async def stop_at(self, position: UUID | None) -> None:
        """Have the next walk go on after `position`, or from the beginning."""
        if position is None:
            query = "DELETE FROM cleanup_positions WHERE name = %(name)s RETURNING name"
            await fetch(self._pool, query, {"name": _NAME})
            return
        parameters = {"name": _NAME, "position": position}
        await fetch(self._pool, statement("upsert_cleanup_position"), parameters)
