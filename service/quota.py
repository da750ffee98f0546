"""An account's stored bytes against its plan: counted where they lie, and minded as more is stored.

What lies in the object store is the truth; a count reads all of it, so no crash and no repetition
makes it wrong. Between counts each stored object is added.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from adapters.attempt_states import attempt_of, attempt_states
from adapters.object_storage import ObjectStorage, StoredObject
from adapters.pool import Pool
from adapters.stored_bytes import StoredBytes, Usage
from adapters.uploads import Uploads
from domain.errors import NotFound, Unavailable
from domain.plan import Plans
from service.identifiers import public_id
from tallystick.handler import Objects, Stored, TaskFailure

Told = Callable[[int], Awaitable[None]]
"""Awaited with the number of objects that were looked at so far."""
_log = structlog.get_logger(__name__)


class QuotaState(msgspec.Struct, frozen=True, kw_only=True):
    """`stored_bytes_max` is the plan's, None without a limit; `counted_at` None before a count."""

    stored_bytes: int
    stored_bytes_max: int | None
    counted_at: datetime | None

    @property
    def over(self) -> bool:
        return self.stored_bytes_max is not None and self.stored_bytes > self.stored_bytes_max

    @property
    def room_bytes(self) -> int | None:
        """What may still be stored; None without a limit."""
        if self.stored_bytes_max is None:
            return None
        return max(0, self.stored_bytes_max - self.stored_bytes)


class Quota:
    """Every method raises `Unavailable`, and `NotFound` for an account that does not exist."""

    def __init__(
        self,
        stored: StoredBytes,
        storage: ObjectStorage,
        uploads: Uploads,
        plans: Plans,
        pool: Pool,
    ) -> None:
        self._stored = stored
        self._storage = storage
        self._uploads = uploads
        self._plans = plans
        self._pool = pool

    async def state(self, account_id: UUID) -> QuotaState:
        """What is known now; nothing is counted."""
        usage = await self._stored.usage(account_id)
        if usage is None:
            raise NotFound("There is no such account.")
        return QuotaState(
            stored_bytes=usage.stored_bytes,
            stored_bytes_max=self._bytes_max(usage),
            counted_at=usage.counted_at,
        )

    def _bytes_max(self, usage: Usage) -> int | None:
        plan = self._plans.known(usage.plan)
        return None if plan is None else plan.stored_bytes_max

    async def count(self, account_id: UUID, told: Told) -> QuotaState:
        """Count anew: the results that are kept, and the uploads in the account's own folder.

        What ended attempts left over does not count. Of two counts at once the first to end stands.
        """
        count = await self._stored.begin_count(account_id)
        kept = await self._uploads.folder_bytes(public_id("acct", account_id))
        seen = 0
        async for page in self._storage.pages(str(account_id)):
            kept += await self._kept(page)
            seen += len(page)
            await told(seen)
        await self._stored.end_count(account_id, count, kept)
        return await self.state(account_id)

    async def _kept(self, page: list[StoredObject]) -> int:
        """Bytes of the objects that a result, or an attempt at work, still wants."""
        attempts = {stored.key: attempt_of(stored.key) for stored in page}
        states = await attempt_states(self._pool, (a.task_id for a in attempts.values() if a))
        kept = 0
        for stored in page:
            attempt = attempts[stored.key]
            state = states.get(attempt.task_id) if attempt else None
            if attempt is None or state is None or state.wants(attempt.token):
                kept += stored.size_bytes
        return kept

    async def add(self, account_id: UUID, size_bytes: int) -> None:
        """Add what was stored just now. Never raises: a count makes good what is lost here."""
        try:
            await self._stored.add(account_id, size_bytes)
        except Unavailable as error:
            _log.warning("quota.not_added", account_id=str(account_id), error=str(error))


class BoundedObjects:
    """`Objects` that take no more than the account's plan lets it store, and add what they took.

    Two that store at one time do not see each other: the limit is passed by what they store.
    """

    def __init__(self, objects: Objects, quota: Quota, account_id: UUID) -> None:
        self._objects = objects
        self._quota = quota
        self._account_id = account_id

    async def put(
        self, name: str, source: Path | bytes | AsyncIterator[bytes], *, content_type: str
    ) -> Stored:
        """As `Objects.put`; raises `TaskFailure` of type storage too where there is no room."""
        room = await self._room()
        stored = await self._objects.put(name, _within(source, room), content_type=content_type)
        await self._quota.add(self._account_id, stored.size_bytes)
        return stored

    async def _room(self) -> int | None:
        try:
            return (await self._quota.state(self._account_id)).room_bytes
        except Unavailable as error:
            message = "What the account stores cannot be told at the moment."
            raise TaskFailure("storage", message) from error


def _within(
    source: Path | bytes | AsyncIterator[bytes], room: int | None
) -> Path | bytes | AsyncIterator[bytes]:
    """The source, if it is known to fit; one of unknown length is cut off when it does not."""
    if room is None:
        return source
    if isinstance(source, AsyncIterator):
        return _bounded(source, room)
    if isinstance(source, bytes):
        _refuse(len(source), room)
    else:
        with suppress(OSError):  # told by whoever reads it
            _refuse(source.stat().st_size, room)
    return source


async def _bounded(chunks: AsyncIterator[bytes], room: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        _refuse(size, room)
        yield chunk


def _refuse(size_bytes: int, room: int) -> None:
    if size_bytes > room:
        message = "The account stores as much as its plan allows."
        raise TaskFailure("storage", message, retryable=False)
