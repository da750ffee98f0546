"""When a task starts and how long it takes, for its answers and for `Retry-After`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import structlog

from adapters.pool import Pool, fetch
from adapters.sql import statement
from adapters.standing import WAITING_TASKS_MAX, Waiting, waiting
from domain.errors import Unavailable
from service.http.throttle import QueuePlace, seconds_until

LATEST_TASKS = 1_000
REFRESH_SECONDS = 10.0
SECONDS_MIN, SECONDS_MAX, SECONDS_UNKNOWN = 1, 300, 5
_log = structlog.get_logger(__name__)


class _Medians(NamedTuple):
    """Seconds from the submission to the end, so with the time in the queue, and from the start."""

    whole: float
    run: float


class Estimates:
    """Medians over the latest tasks, how many wait, and how many are started a second.

    They are read in the background, and only while somebody asks: an answer costs no query.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._medians: dict[str, _Medians] = {}
        self._waiting: dict[str, list[Waiting]] | None = None
        self._asked = asyncio.Event()

    def seconds(
        self,
        type_: str,
        not_before: datetime | None,
        now: Callable[[], datetime],
        *,
        starts_in: int | None = None,
    ) -> int:
        """Whole seconds until it is worth asking for such a task, 1 to 300.

        `starts_in` is when it is its turn, if that is known, in seconds.
        """
        self._asked.set()
        delay = max(0.0, (not_before - now()).total_seconds()) if not_before else 0.0
        medians = self._medians.get(type_)
        if medians is None:
            taken: float = SECONDS_UNKNOWN + (starts_in or 0)
        else:
            taken = medians.whole if starts_in is None else starts_in + medians.run
        return min(max(math.ceil(delay + taken), SECONDS_MIN), SECONDS_MAX)

    def place(self, type_: str, priority: int) -> QueuePlace | None:
        """Where a new task of that type stands, about; None before the figures were read once.

        All of its own priority count as before it: in turn with other accounts it may come earlier.
        """
        self._asked.set()
        if self._waiting is None:
            return None
        lines = self._waiting.get(type_, ())
        ahead = [line.tasks for line in lines if line.priority <= priority]
        pace = next((line.pace for line in lines), None)
        counted = sum(min(tasks, WAITING_TASKS_MAX) for tasks in ahead)
        return QueuePlace(
            position=counted,
            precision="at_least" if max(ahead, default=0) > WAITING_TASKS_MAX else "about",
            starts_in_seconds=seconds_until(counted, pace),
        )

    async def run(self) -> None:
        """For ever: read anew, while somebody asks."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self.refresh()
            except Unavailable as error:
                _log.warning("estimates.unavailable", error=str(error))
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Read all figures. Raises `Unavailable`."""
        query = statement("select_task_durations")
        rows = await fetch(self._pool, query, {"tasks": LATEST_TASKS})
        self._medians = {type_: _Medians(whole, ran) for type_, whole, ran in rows}
        lines: dict[str, list[Waiting]] = {}
        for line in await waiting(self._pool):
            lines.setdefault(line.type, []).append(line)
        self._waiting = lines
