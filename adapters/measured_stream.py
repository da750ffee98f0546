"""Bytes on their way to storage are counted and digested as they pass, and can be called back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Self

INLINE_BYTES_MAX = 256 * 1024
"""Digesting more than this at once would hold up the event loop: it goes to a thread."""


class MeasuredStream:
    """An async iterator over `chunks` that knows `size_bytes` and `sha256` of what has passed.

    `error` is what `chunks` itself raised, so that a consumer's own trouble can be told apart.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._digest = hashlib.sha256()
        self._reader: asyncio.Task[object] | None = None
        self._abandoned = False
        self.size_bytes = 0
        self.error: BaseException | None = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._abandoned:
            raise asyncio.CancelledError
        self._reader = asyncio.current_task()
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._reader = None
        await self._measure(chunk)
        return chunk

    def abandon(self) -> None:
        """Let the consumer's current or next read fail, so that it gives up what it has."""
        self._abandoned = True
        if self._reader is not None:
            self._reader.cancel()

    async def _measure(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if len(chunk) > INLINE_BYTES_MAX:
            await asyncio.to_thread(self._digest.update, chunk)
        else:
            self._digest.update(chunk)
