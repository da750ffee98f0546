"""What became of a task that a worker may not go on with: its run may have ended without it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from adapters.decision import States
from domain.aggregate import TASKS, Stream
from domain.errors import TallystickError
from domain.event import Event, Metadata
from domain.task import Task
from service.command import Origin
from service.command_bus import CommandBus

FATE_SECONDS_MAX = 5.0
"""So long a worker that is out anyway asks what became of a task; it keeps its slot meanwhile."""
_log = structlog.get_logger(__name__)


async def ended_elsewhere(bus: CommandBus, task: Task, worker: str) -> Task | None:
    """The task, if this very attempt's run ended: past its deadline, or after its last stall.

    None where it goes on without this attempt, and where it cannot be asked in time.
    """
    try:
        async with asyncio.timeout(FATE_SECONDS_MAX):
            committed = await bus.execute(
                _nothing, Origin(actor=worker), streams=(Stream(TASKS, task.id),)
            )
    except (TallystickError, TimeoutError) as error:
        _log.warning("fate.unknown", task_id=str(task.id), error=str(error))
        return None
    now: Task | None = committed.states[task.id]
    if now is None or not now.ended or (now.run, now.token) != (task.run, task.token):
        return None
    return now


def _nothing(_states: States, _meta: Metadata) -> Sequence[Event]:
    return ()
