"""A hook that is found by its path, as an installation names it."""

from __future__ import annotations

import asyncio

from adapters.backlogs import Alert

NOT_A_FUNCTION = 1
_queues: list[asyncio.Queue[Alert]] = []


def listen() -> asyncio.Queue[Alert]:
    """What is told from now on."""
    _queues[:] = [asyncio.Queue()]
    return _queues[0]


async def hear(alert: Alert) -> None:
    await _queues[0].put(alert)
