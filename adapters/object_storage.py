"""Results are kept in object storage: streamed there whole or not at all, and streamed back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from adapters.half_objects import drop_halves
from adapters.measured_stream import MeasuredStream
from adapters.object_key import is_object_key, object_key
from adapters.object_store_url import open_store
from domain.errors import NotFound, Unavailable
from tallystick.handler import Stored, TaskFailure

if TYPE_CHECKING:
    from obstore import Attributes

READ_BYTES = 1024 * 1024
PART_BYTES = 8 * 1024 * 1024
PARTS_IN_FLIGHT_MAX = 4
"""One upload holds at most about PART_BYTES x (PARTS_IN_FLIGHT_MAX + 1) in memory."""
ABORT_SECONDS_MAX = 10.0
DELETE_BATCH_OBJECTS = 1000
PAGE_OBJECTS = 1000
SIGNED_SECONDS_MAX = 7 * 24 * 3600


class StoredObject(NamedTuple):
    """What a listing tells of an object."""

    key: str
    size_bytes: int


class ObjectStorage:
    """Object storage at a folder, `file:` URL or `s3:` URL; see `open_store` for their form."""

    def __init__(self, url: str | Path) -> None:
        self._store, self._url = open_store(url)

    def of_task(self, account_id: UUID, task_id: UUID, token: int | None = None) -> TaskObjects:
        """`Objects` of one task, below `<account>/<task>`, or `<account>/<task>/<token>`.

        With the attempt's fencing token, a worker that lost its lease cannot overwrite what the
        next one stored.
        """
        folders = (account_id, task_id) if token is None else (account_id, task_id, token)
        return TaskObjects(self, folders)

    def url(self, key: str) -> str:
        """Where `key` lies: a `file:` or `s3:` URL, which names it and opens nothing by itself."""
        return f"{self._url}/{key}"

    async def put(
        self, key: str, source: Path | bytes | AsyncIterator[bytes], *, content_type: str
    ) -> Stored:
        """Stream `source` to `key`, replacing what is there at once when it is complete.

        Memory is bounded for any size. What an iterator raises passes through; anything else
        that goes wrong raises `TaskFailure` of type storage. After a failure or a cancellation
        no part of it is visible, and the parts already sent are given up.
        """
        if isinstance(source, bytes):
            await self._send(key, source, content_type)
            return self._stored(key, len(source), hashlib.sha256(source).hexdigest())
        if isinstance(source, Path):
            async with aclosing(_file_chunks(source)) as chunks:
                return await self._put_stream(key, chunks, content_type)
        return await self._put_stream(key, source, content_type)

    def _stored(self, key: str, size_bytes: int, sha256: str) -> Stored:
        return Stored(key=key, url=self.url(key), size_bytes=size_bytes, sha256=sha256)

    async def _put_stream(
        self, key: str, chunks: AsyncIterator[bytes], content_type: str
    ) -> Stored:
        """Cancelled from outside, an upload would leave its parts in the bucket for ever."""
        stream = MeasuredStream(chunks)
        upload = asyncio.ensure_future(self._send(key, stream, content_type))
        try:
            await asyncio.shield(upload)
        except asyncio.CancelledError:
            stream.abandon()
            await asyncio.wait([upload], timeout=ABORT_SECONDS_MAX)
            upload.cancel()
            raise
        return self._stored(key, stream.size_bytes, stream.sha256)

    async def _send(self, key: str, content: bytes | MeasuredStream, content_type: str) -> None:
        try:
            await obstore.put_async(
                self._store,
                key,
                content,
                attributes=self._attributes(content_type),
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_IN_FLIGHT_MAX,
            )
        except (BaseError, OSError, ValueError) as error:
            if isinstance(content, MeasuredStream) and content.error is not None:
                raise content.error from None
            raise TaskFailure("storage", "The result could not be stored.") from error

    def _attributes(self, content_type: str) -> Attributes | None:
        """A folder keeps none."""
        return {"Content-Type": content_type} if isinstance(self._store, S3Store) else None

    async def open(self, key: str) -> AsyncIterator[bytes]:
        """The object's bytes, streamed. Raises `NotFound`, and `Unavailable` also while reading."""
        if not is_object_key(key):
            raise NotFound("There is no such object.")
        try:
            found = await obstore.get_async(self._store, key)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound("There is no such object.") from error
        except (BaseError, OSError) as error:
            raise Unavailable("Object storage cannot be reached.") from error
        return _read(found)

    async def signed_url(self, key: str, seconds: int) -> str | None:
        """A URL that anyone may read `key` from for `seconds` (1 to a week); None for a folder.

        Signing asks nobody: the object need not exist. Raises `ValueError` out of bounds, and
        `NotFound` for what cannot be a key.
        """
        if not is_object_key(key):
            raise NotFound("There is no such object.")
        if not 1 <= seconds <= SIGNED_SECONDS_MAX:
            raise ValueError(f"a signed URL lives 1 to {SIGNED_SECONDS_MAX} seconds")
        if not isinstance(self._store, S3Store):
            return None
        try:
            return await obstore.sign_async(self._store, "GET", key, timedelta(seconds=seconds))
        except (BaseError, OSError) as error:
            raise Unavailable("Object storage cannot be reached.") from error

    async def pages(self, prefix: str) -> AsyncIterator[list[StoredObject]]:
        """All objects below the folder `prefix`, in no order, at most `PAGE_OBJECTS` at a time.

        Raises `Unavailable`, and `ValueError` as `delete_prefix` does.
        """
        if not is_object_key(prefix):
            raise ValueError(f"{prefix!r} is no prefix to list below")
        try:
            async for page in obstore.list(self._store, prefix, chunk_size=PAGE_OBJECTS):
                yield [StoredObject(item["path"], item["size"]) for item in page]
        except (BaseError, OSError) as error:
            raise Unavailable("Object storage cannot be reached.") from error

    async def delete(self, keys: Sequence[str]) -> int:
        """Delete these objects; how many, where the store tells who deleted an object.

        A bucket does not: there, all count. Raises `Unavailable`.
        """
        try:
            if isinstance(self._store, LocalStore):
                return sum([await self._delete_file(key) for key in keys])
            for at in range(0, len(keys), DELETE_BATCH_OBJECTS):
                await obstore.delete_async(self._store, keys[at : at + DELETE_BATCH_OBJECTS])
        except (BaseError, OSError) as error:
            raise Unavailable("Object storage cannot be reached.") from error
        return len(keys)

    async def _delete_file(self, key: str) -> bool:
        """A folder that misses one of many does not tell what became of the others."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return False
        return True

    async def drop_halves(self, prefix: str, token: int) -> tuple[int, int]:
        """Remove what attempts up to `token`, if they were killed, left of objects they stored.

        `prefix` is their task's; returns files and bytes. Only a folder shows them to us: parts of
        uploads to a bucket are for its own lifecycle rules.
        """
        if not isinstance(self._store, LocalStore) or not is_object_key(prefix):
            return 0, 0
        folder = Path(unquote(urlsplit(self._url).path), prefix)
        return await asyncio.to_thread(drop_halves, folder, token)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete every object below the folder `prefix`; returns how many. Raises `Unavailable`.

        Whole segments count: `a/b` is not below `a/bc`. Raises `ValueError` for what no key
        begins with, the empty prefix above all.
        """
        if not is_object_key(prefix):
            raise ValueError(f"{prefix!r} is no prefix to delete below")
        deleted = 0
        try:
            pages = obstore.list(self._store, prefix, chunk_size=DELETE_BATCH_OBJECTS)
            async for page in pages:
                await obstore.delete_async(self._store, [item["path"] for item in page])
                deleted += len(page)
        except (BaseError, OSError) as error:
            raise Unavailable("Object storage cannot be reached.") from error
        return deleted


class TaskObjects:
    """`Objects` of one task: names are placed below its folder."""

    def __init__(self, storage: ObjectStorage, folders: tuple[object, ...]) -> None:
        self._storage = storage
        self._folders = folders

    async def put(
        self, name: str, source: Path | bytes | AsyncIterator[bytes], *, content_type: str
    ) -> Stored:
        """As `ObjectStorage.put`; `name` is cleaned by `object_key`."""
        key = object_key(name, below=self._folders)
        return await self._storage.put(key, source, content_type=content_type)


async def _file_chunks(path: Path) -> AsyncGenerator[bytes, None]:
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, READ_BYTES):
                yield chunk
    except OSError as error:
        raise TaskFailure("storage", "The result could not be read back to be stored.") from error


async def _read(found: obstore.GetResult) -> AsyncIterator[bytes]:
    try:
        async for chunk in found.stream(min_chunk_size=READ_BYTES):
            yield bytes(chunk)
    except (BaseError, OSError) as error:
        raise Unavailable("Object storage broke off.") from error
