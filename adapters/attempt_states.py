"""Whether what an attempt left behind is still wanted: by its task, by a result, or by nobody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from adapters.arrays import Uuids
from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.task import TaskStatus

_KEY = re.compile(r"[0-9a-f-]{36}/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([0-9]{1,18})/.")
_WANTING = frozenset({"running", "cancelling", "completed"})
"""States in which a task has an attempt at work, or the result of one."""


class AttemptId(NamedTuple):
    """One attempt of a task, told from its others by its fencing token."""

    task_id: UUID
    token: int


class AttemptState(NamedTuple):
    """The newest attempt of a task, and the task's state."""

    token: int
    status: TaskStatus

    def wants(self, token: int) -> bool:
        """Whether the attempt of that token is at work, or made the result.

        Tokens only grow, and an attempt never comes back: what is not wanted stays unwanted, save
        that of a newer token than was read here.
        """
        return token > self.token or (token == self.token and self.status in _WANTING)

    def works(self, token: int) -> bool:
        """Whether the attempt of that token is at work."""
        return self.wants(token) and not (token == self.token and self.status == "completed")


def attempt_of(key: str) -> AttemptId | None:
    """The attempt that stored an object, by its key; None for a key of another form."""
    found = _KEY.match(key)
    return AttemptId(UUID(found[1]), int(found[2])) if found else None


async def attempt_states(pool: Pool, task_ids: Iterable[UUID]) -> Mapping[UUID, AttemptState]:
    """By task, those that are known here. Raises `Unavailable`."""
    ids = Uuids(dict.fromkeys(task_ids))
    if not ids.items:
        return {}
    rows = await fetch(pool, statement("select_attempt_states"), {"ids": ids})
    return {task_id: AttemptState(token, status) for task_id, token, status in rows}
