"""Keeps the leases of what a worker holds, whatever the work itself does."""

from __future__ import annotations

import asyncio
import time
from typing import Literal, Protocol
from uuid import UUID

import structlog

from adapters.queue import Heartbeat, Leases
from domain.errors import Unavailable
from domain.task import Task
from service.attempt import Attempt
from service.hooks import Moment

_log = structlog.get_logger(__name__)

StopReason = Literal["lost", "cancelled", "handed back"]


class Held:
    """An attempt that this worker holds; `renewed` is when its lease was last known good.

    Monotonic. One task may be held twice for a while: by an attempt that is lost, and the next.
    """

    __slots__ = ("attempt", "job", "recording", "renewed", "stop_reason", "task")

    def __init__(self, task: Task, attempt: Attempt | None) -> None:
        self.task = task
        self.attempt = attempt
        self.renewed = time.monotonic()
        self.stop_reason: StopReason | None = None
        self.recording = False
        self.job: asyncio.Task[None] | None = None

    def stop(self, reason: StopReason) -> None:
        """End the handler at its next await (or its next word, if it runs in a thread).

        An end that is being recorded is not disturbed: the fencing token judges it.
        """
        if self.stop_reason is not None or self.job is None:
            return
        self.stop_reason = reason
        if self.recording:
            return
        if self.attempt is not None:
            self.attempt.cancelled = True
        self.job.cancel()

    def heartbeat(self) -> Heartbeat:
        if self.attempt is not None:
            return self.attempt.heartbeat()
        return Heartbeat(task_id=self.task.id, token=self.task.token)


class Tell(Protocol):
    """Told of what becomes of a task."""

    def __call__(self, moment: Moment, task: Task, progress: Heartbeat | None = None) -> None: ...


class LeaseKeeper:
    """The attempts of one worker, from `keep` to `let_go`; `run` renews their leases for ever."""

    def __init__(
        self, leases: Leases, tell: Tell, *, heartbeat_seconds: float, progress_seconds: float
    ) -> None:
        self._leases = leases
        self._tell = tell
        self._heartbeat_seconds = heartbeat_seconds
        self._progress_seconds = progress_seconds
        self._held: dict[tuple[UUID, int], Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def jobs(self) -> list[asyncio.Task[None]]:
        """The attempts under way."""
        return [held.job for held in self._held.values() if held.job is not None]

    def keep(self, held: Held) -> None:
        self._held[held.task.id, held.task.token] = held

    def let_go(self, held: Held) -> None:
        del self._held[held.task.id, held.task.token]

    def stop_all(self, reason: StopReason) -> None:
        for held in list(self._held.values()):
            held.stop(reason)

    async def run(self) -> None:
        """Every `progress_seconds` send what has news; every `heartbeat_seconds` send all."""
        next_all = time.monotonic() + self._heartbeat_seconds
        while True:
            await asyncio.sleep(self._progress_seconds)
            everyone = time.monotonic() >= next_all
            beating = [h for h in self._held.values() if everyone or _has_news(h)]
            if everyone:
                next_all = time.monotonic() + self._heartbeat_seconds
            if beating:
                await self._renew(beating)
            self._give_up_lapsed()

    async def _renew(self, beating: list[Held]) -> None:
        asked = time.monotonic()
        try:
            beats = [held.heartbeat() for held in beating]
            states = await self._leases.renew(beats)
        except Unavailable as error:
            _log.warning("leases.failed", error=str(error))
            return
        except Exception:  # noqa: BLE001 - the edge: without this loop every lease here lapses
            _log.exception("leases.failed")
            return
        for held, beat, state in zip(beating, beats, states, strict=True):
            if beat.percent is not None:
                self._tell("progress", held.task, beat)
            match state:
                case "held":
                    held.renewed = asked
                case "cancelling":
                    held.renewed = asked
                    held.stop("cancelled")
                case "lost":
                    held.stop("lost")

    def _give_up_lapsed(self) -> None:
        """Without a word from the database for a whole lease, another worker may have the task."""
        oldest = time.monotonic() - self._leases.lease_seconds
        for held in self._held.values():
            if held.renewed < oldest:
                held.stop("lost")


def _has_news(held: Held) -> bool:
    return held.attempt is not None and held.attempt.has_news
