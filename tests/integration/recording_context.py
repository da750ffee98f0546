"""A handler's context with the real download and storage, that remembers what it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

from adapters.addresses import AddressGuard
from adapters.download import Downloads, DownloadTimeouts
from adapters.object_storage import ObjectStorage
from adapters.uploads import Uploads
from tallystick.handler import Objects, Stored, TaskCancelled, TaskFailure

ACCOUNT = UUID("01980000-0000-7000-8000-000000000001")
TASK = UUID("01980000-0000-7000-8000-000000000002")
IMPATIENT = DownloadTimeouts(connect_seconds=5, read_seconds=1, total_seconds=60)


class RecordingContext:
    """`Context` over folders below `base`: `objects`, `uploads` and the scratch `folder`."""

    def __init__(self, base: Path, *, allow_loopback: bool = True) -> None:
        self.task_id = TASK
        self.account_id = ACCOUNT
        self.attempt = 1
        self.folder = base / "scratch"
        self.folder.mkdir()
        (base / "uploads").mkdir(exist_ok=True)
        self.storage = ObjectStorage(base / "objects")
        self.objects: Objects = self.storage.of_task(ACCOUNT, TASK)
        guard = AddressGuard(allow_loopback=allow_loopback)
        self.fetch = Downloads(guard, uploads=Uploads(base / "uploads"), timeouts=IMPATIENT)
        self.stages: list[str] = []
        self.percents: list[int] = []
        self.messages: list[str] = []
        self.cancel_at: str | None = None

    async def stage(self, name: str) -> None:
        self.stages.append(name)

    async def progress(
        self,
        percent: int,
        message: str = "",
        *,
        completed: int | None = None,
        total: int | None = None,
    ) -> None:
        assert completed is None or total is None or completed <= total
        if message == self.cancel_at:
            raise TaskCancelled
        self.percents.append(percent)
        self.messages.append(message)

    async def read(self, stored: Stored) -> bytes:
        return b"".join([chunk async for chunk in await self.storage.open(stored.key)])


class FullStorage:
    """`Objects` that stores what is named in `takes` and has no room for anything else."""

    def __init__(self, objects: Objects, *takes: str) -> None:
        self.objects = objects
        self.takes = takes

    async def put(
        self, name: str, source: Path | bytes | AsyncIterator[bytes], *, content_type: str
    ) -> Stored:
        if name in self.takes:
            return await self.objects.put(name, source, content_type=content_type)
        raise TaskFailure("storage", "The result could not be stored.")
