"""A fact on its way to the streams that it concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec

from adapters.light_progress import LightProgress
from adapters.log import Recorded
from domain.task import Task


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """Who reads: an account's stream, or (`task_id`) one task's; `account_id` None: an operator.

    `tell` and `tell_progress` make the server-sent events.
    """

    account_id: UUID | None
    task_id: UUID | None = None
    tell: Callable[[Fact, Reader], bytes]
    tell_progress: Callable[[LightProgress], bytes]

    @property
    def look(self) -> Literal["account", "task", "operator"]:
        """Readers to whom a fact looks alike."""
        if self.task_id is None:
            return "account"
        return "operator" if self.account_id is None else "task"


class Fact:
    """One fact, with the task right after it; encoded once for all to whom it looks alike."""

    __slots__ = ("_frames", "recorded", "task")

    def __init__(self, recorded: Recorded, task: Task | None) -> None:
        self.recorded = recorded
        self.task = task
        self._frames: dict[str, bytes] = {}

    @property
    def position(self) -> int:
        return self.recorded.position

    def frame(self, reader: Reader) -> bytes:
        """The server-sent event for this reader."""
        known = self._frames.get(reader.look)
        if known is None:
            known = self._frames[reader.look] = reader.tell(self, reader)
        return known
