"""One open stream's share of what is found in the log: bounded, and closed rather than cut."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from uuid import UUID

from adapters.light_progress import LightProgress
from service.http.fact import Fact, Reader

RUNNING_TASKS_MAX = 200
"""Tasks of one stream whose progress between facts is shown; facts are shown of all."""


class Subscription:
    """Filled by `Streams`, emptied by whoever writes the stream.

    When more than `bytes_max` wait to be written, it is closed: its reader may resume.
    """

    def __init__(self, reader: Reader, key_id: UUID, bytes_max: int) -> None:
        self.reader = reader
        self.key_id = key_id
        self.over = asyncio.Event()
        self._bytes_max = bytes_max
        self._since = 0
        self._frames: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._ended = False
        self._shown: dict[UUID, LightProgress] = {}

    def begin(self, since: int) -> None:
        """Leave out the facts up to this position: they are told otherwise."""
        self._since = since

    def offer(self, fact: Fact) -> None:
        """Have a fact written; the one that ends the task of a task's stream is the last one."""
        if self._ended or fact.position <= self._since:
            return
        self._add(fact.position, fact.frame(self.reader))
        self.note(fact)
        self._ended = self.ended_by(fact)

    def ended_by(self, fact: Fact) -> bool:
        """Whether nothing comes after it: a task's own stream ends with the task."""
        return self.reader.task_id is not None and fact.task is not None and fact.task.ended

    def finish(self) -> None:
        """Let nothing come any more."""
        self._ended = True
        self._news.set()

    def _add(self, position: int, frame: bytes) -> None:
        if self._frames and self._bytes + len(frame) > self._bytes_max:
            self.over.set()
            return
        self._frames.append((position, frame))
        self._bytes += len(frame)
        self._news.set()

    async def take(self) -> bytes:
        """All that has come, once something has; empty when nothing more will."""
        while True:
            frames = [frame for position, frame in self._frames if position > self._since]
            self._frames.clear()
            self._bytes = 0
            if frames or self._ended:
                return b"".join(frames)
            self._news.clear()
            await self._news.wait()

    # Progress between facts

    @property
    def running(self) -> Iterable[UUID]:
        """Tasks whose progress is to be looked at."""
        return self._shown.keys()

    def note(self, fact: Fact) -> None:
        """Take the fact as what is shown of its task's progress."""
        task = fact.task
        if task is None:
            return
        known = self._shown.get(task.id)
        if known is not None and known.version > task.version:
            return
        if not task.leased:
            self._shown.pop(task.id, None)
        elif known is not None or len(self._shown) < RUNNING_TASKS_MAX:
            self._shown[task.id] = LightProgress(
                task_id=task.id,
                version=task.version,
                percent=task.percent,
                message=None,
                completed=None,
                total=None,
                stage=task.stage,
            )

    def expect(self, running: Iterable[LightProgress]) -> None:
        """Take these, read after the stream had begun, as shown where no newer fact was."""
        for light in running:
            known = self._shown.get(light.task_id)
            if known is None or known.version < light.version:
                self._shown[light.task_id] = light

    def offer_progress(self, light: LightProgress) -> None:
        """Have it written if it is news, belongs to the last fact told, and nothing else waits."""
        known = self._shown.get(light.task_id)
        if known is None or known.version != light.version or known == light or self._frames:
            return
        self._shown[light.task_id] = light
        self._add(BETWEEN_FACTS, self.reader.tell_progress(light))


BETWEEN_FACTS = 2**63
"""Above every position, so that what is no fact is never taken for one told before."""
