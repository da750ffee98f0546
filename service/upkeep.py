"""What is left over of all accounts goes: old uploads, scratch files, objects of dead attempts.

Nothing that a live task needs is touched. An upload is needed while anything alive names it. A
scratch folder is an attempt's, and goes when that attempt has ended. Objects are looked at only
once their task has ended, and then those of attempts that came to nothing go: tokens only grow, so
an attempt that had ended when it was looked at never works again, whatever happens meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from adapters.attempt_states import attempt_of, attempt_states
from adapters.ended_attempts import EndedAttempts, EndedTask
from adapters.named_uploads import NamedUploads
from adapters.object_storage import ObjectStorage
from adapters.pool import Pool
from adapters.scratch_folder import remove_scratch_folder, scratch_folders
from adapters.uploads import Uploads

UPLOADS_AT_ONCE = 1_000
"""Removed after one look at what is named: who names one meanwhile comes too late for it."""
SECONDS_MAX = 600.0
"""After which a run begins nothing new."""
HOUR_SECONDS = 3_600.0
DAY_SECONDS = 86_400.0
_T = TypeVar("_T")
Told = Callable[[int], Awaitable[None]]
"""Awaited with what was removed so far."""


class UpkeepLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Ages from which on things are left over, and how many go in one run."""

    leftover_seconds: float = 24 * HOUR_SECONDS
    upload_seconds: float = 30 * DAY_SECONDS
    removals_max: int = 10_000


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How many files, folders or objects went, and their bytes."""

    count: int = 0
    bytes: int = 0

    def plus(self, count: int, size_bytes: int) -> Removed:
        return Removed(count=self.count + count, bytes=self.bytes + size_bytes)


class Upkeep:
    """`run` is one clean-up; several at once remove nothing twice. Raises `Unavailable`."""

    def __init__(
        self,
        pool: Pool,
        storage: ObjectStorage,
        uploads: Uploads,
        now: Callable[[], datetime],
        *,
        limits: UpkeepLimits | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.pool = pool
        self.storage = storage
        self.uploads = uploads
        self.now = now
        self.limits = limits or UpkeepLimits()
        self.scratch = scratch

    async def run(self, told: Told) -> UpkeepRun:
        """Remove what is left over, within the limits; what was done, also of a part."""
        run = UpkeepRun(self, told)
        await run.remove_scratch()
        await run.remove_uploads()
        await run.remove_objects()
        return run


class UpkeepRun:
    """One run: what went of each kind, and whether it came to its end."""

    def __init__(self, upkeep: Upkeep, told: Told) -> None:
        self._upkeep = upkeep
        self._told = told
        self._until = time.monotonic() + SECONDS_MAX
        self.scratch = self.uploads = self.objects = Removed()
        self.complete = True
        self.uploads_known = True

    @property
    def count(self) -> int:
        return self.scratch.count + self.uploads.count + self.objects.count

    @property
    def size_bytes(self) -> int:
        return self.scratch.bytes + self.uploads.bytes + self.objects.bytes

    @property
    def _left(self) -> int:
        """What may still go in this run."""
        if time.monotonic() > self._until:
            return 0
        return max(0, self._upkeep.limits.removals_max - self.count)

    def _take(self, found: Sequence[_T]) -> Sequence[_T]:
        """As many as may still go; the run is not complete when that is not all."""
        taken = found[: self._left]
        self.complete = self.complete and len(taken) == len(found)
        return taken

    async def remove_scratch(self) -> None:
        """Folders of attempts that ended; those of tasks unknown here are another service's."""
        upkeep = self._upkeep
        before = upkeep.now().timestamp() - upkeep.limits.leftover_seconds
        folders = await asyncio.to_thread(scratch_folders, upkeep.scratch)
        old = [folder for folder in folders if folder.changed < before]
        states = await attempt_states(upkeep.pool, (one.attempt.task_id for one in old))
        ended = [
            folder
            for folder in old
            if (state := states.get(folder.attempt.task_id))
            and not state.works(folder.attempt.token)
        ]
        for folder in self._take(ended):
            size_bytes = await asyncio.to_thread(remove_scratch_folder, folder.path)
            self.scratch = self.scratch.plus(1, size_bytes)
            await self._told(self.count)

    async def remove_uploads(self) -> None:
        """Old uploads that nothing alive names, as it is at the moment of their removal."""
        upkeep = self._upkeep
        named = NamedUploads(upkeep.pool, upkeep.uploads.folder)
        before = upkeep.now().timestamp() - upkeep.limits.upload_seconds
        old = await upkeep.uploads.older_than(before)
        for at in range(0, len(old), UPLOADS_AT_ONCE):
            needed = await named.paths()
            if needed is None:
                self.uploads_known = self.complete = False
                return
            batch = [path for path in old[at : at + UPLOADS_AT_ONCE] if str(path) not in needed]
            self.uploads = self.uploads.plus(*await upkeep.uploads.remove(self._take(batch)))
            await self._told(self.count)

    async def remove_objects(self) -> None:
        """What attempts stored that came to nothing; from where the last run stopped."""
        ended = EndedAttempts(self._upkeep.pool)
        position = await ended.position()
        while self._left:
            page = await ended.page(position, self._upkeep.limits.leftover_seconds)
            for task in page.tasks:
                await self._remove_of(task)
            if not self._left:
                break
            await ended.stop_at(page.last)
            if page.last is None:
                return
            position = page.last
        self.complete = False

    async def _remove_of(self, task: EndedTask) -> None:
        storage, prefix = self._upkeep.storage, f"{task.account_id}/{task.id}"
        async for page in storage.pages(prefix):
            dead = [
                one
                for one in page
                if (attempt := attempt_of(one.key)) and not task.state.wants(attempt.token)
            ]
            taken = self._take(dead)
            count = await storage.delete([one.key for one in taken])
            self.objects = self.objects.plus(count, sum(one.size_bytes for one in taken))
        if self._left:
            self.objects = self.objects.plus(*await storage.drop_halves(prefix, task.state.token))
        await self._told(self.count)
