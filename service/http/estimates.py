"""How long a task will take, for `Retry-After`: as long as the latest ones of its type took."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime

import structlog

from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.errors import Unavailable

LATEST_TASKS = 1_000
REFRESH_SECONDS = 10.0
SECONDS_MIN, SECONDS_MAX, SECONDS_UNKNOWN = 1, 300, 5
_log = structlog.get_logger(__name__)


class Estimates:
    """Medians over the latest tasks, from submission to completion, so with the time in the queue.

    They are read in the background, and only while somebody asks.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._medians: dict[str, float] = {}
        self._asked = asyncio.Event()

    def seconds(self, type_: str, not_before: datetime | None, now: datetime) -> int:
        """Whole seconds until it is worth asking for such a task, 1 to 300."""
        self._asked.set()
        delay = max(0.0, (not_before - now).total_seconds()) if not_before else 0.0
        taken = self._medians.get(type_, SECONDS_UNKNOWN)
        return min(max(math.ceil(delay + taken), SECONDS_MIN), SECONDS_MAX)

    async def run(self) -> None:
        """For ever: read anew, while somebody asks."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                rows = await fetch(
                    self._pool, statement("select_task_durations"), {"tasks": LATEST_TASKS}
                )
                self._medians = dict(rows)
            except Unavailable as error:
                _log.warning("estimates.unavailable", error=str(error))
            await asyncio.sleep(REFRESH_SECONDS)
