"""How a task goes, live where the service streams, and by asking again where it does not."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tallystick.client import Client
from tallystick.errors import ApiError, Unreachable
from tallystick.models import Task


def follow(service: Client, task_id: str, seconds: float) -> Iterator[Task]:
    """Each state that is heard of, the last one whole. Raises as `Client.watch`.

    Streams may be all taken, unknown to an older service, or held back by a proxy.
    """
    deadline = time.monotonic() + seconds
    try:
        for event in service.stream(task_id, timeout_seconds=seconds):
            if event.task is not None:
                yield event.task
    except (ApiError, Unreachable):
        left = max(0.0, deadline - time.monotonic())
        yield from service.watch(task_id, timeout_seconds=left)
    else:
        yield service.get(task_id)
