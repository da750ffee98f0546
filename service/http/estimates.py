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
from domain.task import PRIORITIES
from service.http.throttle import QueuePlace, seconds_until

LATEST_TASKS = 1_000
REFRESH_SECONDS = 10.0
SECONDS_MIN, SECONDS_MAX, SECONDS_UNKNOWN = 1, 300, 5
_NOBODY_WAITS = QueuePlace(position=0, precision="about", starts_in_seconds=None)
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
        self._places: dict[tuple[str, int], QueuePlace] | None = None
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
        if self._places is None:
            return None
        return self._places.get((type_, priority), _NOBODY_WAITS)

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
        self._places = _places(await waiting(self._pool))


def _places(lines: list[Waiting]) -> dict[tuple[str, int], QueuePlace]:
    """Where a new task of each type that waits, or was started, stands at each priority."""
    by_type: dict[str, list[Waiting]] = {}
    for line in lines:
        by_type.setdefault(line.type, []).append(line)
    return {
        (type_, priority): _place(of_type, priority)
        for type_, of_type in by_type.items()
        for priority in PRIORITIES.values()
    }


def _place(lines: list[Waiting], priority: int) -> QueuePlace:
    """Behind all that wait at its own priority, or a higher one."""
    ahead = [line.tasks for line in lines if line.priority <= priority]
    counted = sum(min(tasks, WAITING_TASKS_MAX) for tasks in ahead)
    return QueuePlace(
        position=counted,
        precision="at_least" if max(ahead, default=0) > WAITING_TASKS_MAX else "about",
        starts_in_seconds=seconds_until(counted, lines[0].pace),
    )
