"""How a waiting task stands in the queue: what holds it back, and who goes before it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from adapters.pool import Pool, fetch
from adapters.sql import statement

AHEAD_TASKS_MAX = 1_000
"""Tasks that are counted, at most, to tell a place in the queue."""
WAITING_TASKS_MAX = 10_000
"""The same for the figures that are kept for a while, by type and priority."""


class Standing(NamedTuple):
    """Of a queued task or one in backoff, by the database's clock `now`.

    `ahead` are the tasks of its type that could start and go before it, `AHEAD_TASKS_MAX` + 1 for
    more than that; `pace` is how many of the type were started a second lately, while any waited;
    None if unknown.
    """

    backoff: bool
    not_before: datetime | None
    type_paused: bool
    account_paused: bool
    provider_paused: bool
    provider_closed_until: datetime | None
    provider_next_start: datetime | None
    provider_full: bool
    type_full: bool
    ahead: int
    pace: float | None
    now: datetime


class Waiting(NamedTuple):
    """Tasks of one type and priority that could start, and how many of the type do a second."""

    type: str
    priority: int
    tasks: int
    pace: float | None


async def standing(pool: Pool, task_id: UUID, running_max: int | None) -> Standing | None:
    """None for a task that waits no more. Raises `Unavailable`."""
    parameters = {"task_id": task_id, "running_max": running_max, "ahead_max": AHEAD_TASKS_MAX}
    rows = await fetch(pool, statement("select_standing"), parameters)
    return Standing(*rows[0]) if rows else None


async def waiting(pool: Pool) -> list[Waiting]:
    """A row for each type and priority that waits, or was started. Raises `Unavailable`."""
    parameters = {"ahead_max": WAITING_TASKS_MAX}
    return [Waiting(*row) for row in await fetch(pool, statement("select_waiting"), parameters)]
