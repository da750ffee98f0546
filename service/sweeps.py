"""What becomes due with time, each a sweep: the processors and a tick carry them all out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from adapters.gates import park_tasks, unpark_tasks
from adapters.providers import open_providers
from adapters.queue import wake_delayed
from service.bootstrap import Service
from service.swept import Swept

SWEEP_TASKS_MAX = 200
PARK_TASKS_MAX = 2_000
"""Put aside, or back, in one statement without the log's lock."""
PURGE_KEYS_MAX = 5_000
"""Forgotten in one turn."""


class Sweep:
    """Calling it takes what is due, at most `limit`, and says how many. Raises `Unavailable`."""

    def __init__(
        self, name: str, act: Callable[[int], Awaitable[int | Swept]], limit: int = SWEEP_TASKS_MAX
    ) -> None:
        self.name = name
        self.limit = limit
        self._act = act

    async def __call__(self) -> Swept:
        taken = await self._act(self.limit)
        return taken if isinstance(taken, Swept) else Swept(taken, more=taken == self.limit)


def sweeps_of(service: Service) -> tuple[Sweep, ...]:
    """Leases, deadlines, pauses, schedules, credits and holds: nothing stays for ever."""
    return (
        Sweep("rescue", service.bus.rescue),
        Sweep("expire", service.bus.expire),
        Sweep("wake", partial(wake_delayed, service.pool)),
        Sweep("fire", service.schedules.fire),
        Sweep("settle", service.ledgers.settle_due),
        Sweep("open", partial(open_providers, service.pool)),
        Sweep("park", partial(park_tasks, service.pool), PARK_TASKS_MAX),
        Sweep("unpark", partial(unpark_tasks, service.pool), PARK_TASKS_MAX),
    )
