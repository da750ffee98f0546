"""Replay: read the log in order and fold every stream of it, in memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

from bench import database
from bench.system import in_process
from bench.tallystick_system import DATABASE, Tallystick
from domain.aggregate import AGGREGATE_OF
from domain.task import Task
from service.bootstrap import open_service
from service.settings import Settings

TASKS_COUNT = 20_000
READ_EVENTS = 1_000


def measure() -> dict[str, object]:
    """`replay_events_s`: events read, decoded and folded a second, over the log of 20,000 tasks."""
    system = Tallystick()
    system.reset()
    asyncio.run(system.bulk(TASKS_COUNT))
    database.settle(DATABASE)
    return {"replay_events_s": in_process(system, "replay")}


async def replay() -> float:
    """Events a second, from the first to the last of the log."""
    settings = Settings(database_url=database.dsn(DATABASE), data_folder=database.folder() / "data")
    states: dict[UUID, Any] = {}
    async with open_service(settings) as service:
        begun, position, events = time.perf_counter(), 0, 0
        while recorded := await service.log.read(position, READ_EVENTS):
            for entry in recorded:
                event = entry.event
                stream = event.originator_id
                states[stream] = AGGREGATE_OF[type(event)].evolve(states.get(stream), event)
            position = recorded[-1].position
            events += len(recorded)
        seconds = time.perf_counter() - begun
    tasks = sum(type(state) is Task for state in states.values())
    assert tasks == TASKS_COUNT, "every task was replayed"
    return events / seconds
