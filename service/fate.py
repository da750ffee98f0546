"""What became of a task that a worker may not go on with: its run may have ended without it."""

from __future__ import annotations

import asyncio

import structlog

from domain.errors import TallystickError
from domain.task import Task
from service.attempts import Attempts

FATE_SECONDS_MAX = 5.0
"""So long a worker that is out anyway asks what became of a task; it keeps its slot meanwhile."""
_log = structlog.get_logger(__name__)


async def ended_elsewhere(attempts: Attempts, task: Task, worker: str) -> Task | None:
    """The task, if this very attempt's run ended: past its deadline, or after its last stall.

    None where it goes on without this attempt, and where it cannot be asked in time.
    """
    try:
        async with asyncio.timeout(FATE_SECONDS_MAX):
            now = await attempts.present(task.id, worker)
    except (TallystickError, TimeoutError) as error:
        _log.warning("fate.unknown", task_id=str(task.id), error=str(error))
        return None
    if now is None or not now.ended or (now.run, now.token) != (task.run, task.token):
        return None
    return now
