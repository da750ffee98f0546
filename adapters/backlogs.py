"""Notices once, for all processes, when too many tasks wait for too long, and has it told.

What was seen and what has to be told are written by one statement, so a process may be killed at
any point: a notice that was not told is taken by the next one. It is told at least once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from adapters.arrays import Bigints, Texts, Timestamps
from adapters.pool import Pool, fetch
from adapters.queue_depth import QueueCount
from adapters.sql import statement

Channel = Literal["hooks", "webhook"]
NOTICES_MAX = 100
"""Taken at once."""
RETRY_SECONDS = 30.0
"""A notice taken is left alone for so long, then twice as long each time it is taken again."""
RETRY_SECONDS_MAX = 3_600.0


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """A type of which too many tasks have waited since `since`; raised when that went on."""

    type: str
    since: datetime
    raised_at: datetime


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a backlog; `id` is the same however often it is told.

    `waiting` tasks could start at `at`, the first of them since `oldest_at`; `since` is when there
    were too many for the first time.
    """

    id: UUID
    moment: Literal["backlog.raised", "backlog.over"]
    type: str
    waiting: int
    since: datetime
    oldest_at: datetime | None
    at: datetime


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """An alert to be told in one way, for the `attempts`th time."""

    alert: Alert
    channel: Channel
    attempts: int


class Backlogs:
    """Each method is one statement; all raise `Unavailable`.

    More than `tasks_max` waiting tasks of a type, at every count for `seconds`, are a backlog.
    """

    def __init__(self, pool: Pool, *, tasks_max: int, seconds: float) -> None:
        self._pool = pool
        self._tasks_max = tasks_max
        self._seconds = seconds

    async def see(self, count: QueueCount, channels: Sequence[Channel]) -> None:
        """Raise what has gone on for too long, end what is over; an old count changes nothing."""
        depths = count.depths
        parameters = {
            "types": Texts([depth.type for depth in depths]),
            "waiting": Bigints([depth.waiting for depth in depths]),
            "oldest": Timestamps([depth.oldest_at for depth in depths]),
            "tasks_max": self._tasks_max,
            "seconds": self._seconds,
            "at": count.counted_at,
            "channels": list(channels),
        }
        await fetch(self._pool, statement("see_backlogs"), parameters)

    async def raised(self) -> list[Backlog]:
        """Those that are raised and not over, by type."""
        query = (
            "SELECT type, since, raised_at FROM backlogs WHERE raised_at IS NOT NULL ORDER BY type"
        )
        rows = await fetch(self._pool, query, {})
        return [
            Backlog(type=type_, since=since, raised_at=raised_at)
            for type_, since, raised_at in rows
        ]

    async def take(self) -> list[Notice]:
        """Notices that are due, the oldest first; nobody else gets them for a while."""
        parameters = {
            "limit": NOTICES_MAX,
            "seconds": RETRY_SECONDS,
            "seconds_max": RETRY_SECONDS_MAX,
        }
        rows = await fetch(self._pool, statement("take_alert_notices"), parameters)
        names = Alert.__struct_fields__
        notices = [
            Notice(
                alert=Alert(**dict(zip(names, values, strict=True))),
                channel=channel,
                attempts=attempts,
            )
            for *values, channel, attempts in rows
        ]
        return sorted(notices, key=lambda notice: notice.alert.at)

    async def told(self, notice: Notice) -> None:
        """It needs no more telling in this way."""
        query = "DELETE FROM alert_notices WHERE id = %(id)s AND channel = %(channel)s RETURNING id"
        parameters = {"id": notice.alert.id, "channel": notice.channel}
        await fetch(self._pool, query, parameters)
