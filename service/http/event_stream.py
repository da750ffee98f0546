"""An answer that goes on: server-sent events, until they or the client or the service end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog
from litestar.types import Receive, Scope, Send

from domain.errors import TallystickError
from service.http.answer import Answer
from service.http.subscription import Subscription
from service.http.waiters import hung_up

MEDIA = "text/event-stream"
CLOSE_SECONDS_MAX = 2.0
"""For the last bytes to leave; a client that does not take them is hung up on."""
ABORT = "tallystick.abort"
"""The extension of the ASGI scope that hangs up; without it, the server closes in its own time."""
_log = structlog.get_logger(__name__)


class EventStream(Answer):
    """Writes what `chunks` gives, and a comment whenever it gives empty bytes.

    Ends with `chunks`, with the client, or when the subscription is over; then `leave` is called.
    """

    __slots__ = ("_chunks", "_leave", "_subscription")

    def __init__(
        self,
        subscription: Subscription,
        chunks: AsyncIterator[bytes],
        leave: Callable[[], None],
    ) -> None:
        super().__init__(200, media=MEDIA.encode())
        # There is no length to tell.
        self.headers = [
            (b"content-type", MEDIA.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        self._subscription = subscription
        self._chunks = chunks
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end."""
        start: Any = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        gone = asyncio.ensure_future(hung_up(receive))
        try:
            await send(start)
            complete = await self._first_of(self._write(send), self._subscription.over.wait(), gone)
            if not complete and not gone.done():
                await _finish(scope, send, gone)
        finally:
            gone.cancel()
            self._leave()

    async def _write(self, send: Send) -> None:
        """All there is, and the end; a reader who is not cut off takes the time it needs."""
        try:
            async for chunk in self._chunks:
                await send(_body(chunk, more=True))
        except TallystickError as error:
            _log.warning("stream.broken_off", code=error.code, error=str(error))
        except Exception:  # noqa: BLE001 - the edge: the client may resume
            _log.exception("stream.failed")
        await send(_body(b"", more=False))

    @staticmethod
    async def _first_of(
        writing: Coroutine[Any, Any, None],
        over: Coroutine[Any, Any, Any],
        gone: asyncio.Future[None],
    ) -> bool:
        """Whether all was written, before the stream was over or the client gone."""
        tasks = (asyncio.create_task(writing), asyncio.create_task(over))
        try:
            await asyncio.wait((*tasks, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return not tasks[0].cancelled()


async def _finish(scope: Scope, send: Send, gone: asyncio.Future[None]) -> None:
    """End the answer in good form, or hang up."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS_MAX):
            await send(_body(b"", more=False))
    except TimeoutError:
        extensions: Any = scope.get("extensions") or {}
        if ABORT in extensions:
            extensions[ABORT]["call"]()
            await gone


def _body(chunk: bytes, *, more: bool) -> Any:  # noqa: ANN401 - ASGI's
    return {"type": "http.response.body", "body": chunk, "more_body": more}
