"""The ASGI application: the routes, which all applications share, over the parts of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from functools import cache
from traceback import format_exc
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import MethodNotAllowedException
from litestar.plugins import PluginProtocol

from adapters.api_keys import KEYS_CHANGED
from adapters.shared_secret import shared_secret
from service.bootstrap import Service
from service.http.body import Bodies
from service.http.call import Front
from service.http.cursors import PURPOSE, Cursors
from service.http.dispatch import allowed_methods, litestar_handlers
from service.http.estimates import Estimates
from service.http.idempotency import InFlight
from service.http.metrics import Metrics
from service.http.openapi import openapi_bytes
from service.http.owners import Owners
from service.http.problem import as_ours
from service.http.refusals import MethodNotAllowed
from service.http.route import FRONT, refused
from service.http.streams import Streams
from service.http.trace import trace_of
from service.http.waiters import Waiters

_log = structlog.get_logger(__name__)


def create_app(service: Service, stop: asyncio.Event | None = None) -> App:
    """The API over an open service.

    When `stop` is set, requests that wait for a task are answered with what there is, streams and
    ticks end, and bodies that have not arrived are refused: none holds up the shutdown.
    """
    stop = stop or asyncio.Event()
    owners = Owners(service.pool)
    return App(
        Front(
            service=service,
            stop=stop,
            bodies=Bodies(),
            waiters=Waiters(
                service.pool, service.wakeup.watch(), poll_seconds=service.settings.poll_seconds
            ),
            estimates=Estimates(service.pool),
            cursors=Cursors(),
            owners=owners,
            streams=Streams(service, owners),
            metrics=Metrics(),
            in_flight=InFlight(),
            openapi=openapi_bytes,
        )
    )


class App:
    """Hands requests to the routes, and lets the loops of its `Front` live as long as it does."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._routes = litestar_routes()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        scope[FRONT] = self._front
        await self._routes(scope, receive, send)  # type: ignore[arg-type]

    async def _live(self, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        await receive()
        step = "startup"
        try:
            async with self._loops():
                await send({"type": "lifespan.startup.complete"})
                step = "shutdown"
                await receive()
        except BaseException:
            await send({"type": f"lifespan.{step}.failed", "message": format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _loops(self) -> AsyncIterator[None]:
        front = self._front
        service = front.service
        front.cursors.use(await shared_secret(service.pool, PURPOSE))
        async with _running(
            front.waiters.run(),
            front.estimates.run(),
            front.streams.run(),
            service.keys.follow(service.wakeup.watch(only=KEYS_CHANGED)),
            _release(front),
        ):
            yield


@cache
def litestar_routes() -> Litestar:
    """All routes, made once: that takes as long as answering a hundred requests."""
    return _Routes(
        litestar_handlers(),
        exception_handlers={Exception: _refuse},
        openapi_config=None,
        logging_config=None,
    )


class _Routes(Litestar):
    """Litestar without its plugins: they serve a reading of requests that is not used here."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return plugins


def _refuse(request: Request[Any, Any, Any], raised: Exception) -> Response[bytes]:
    """Tell of what Litestar itself refuses: paths, methods, hosts."""
    trace = trace_of(request.headers.get("traceparent", "").encode("latin-1"))
    path = request.scope["path"]
    error = as_ours(raised)
    if isinstance(raised, MethodNotAllowedException):
        error = MethodNotAllowed(allowed_methods(path))
    answer = refused(error, path, trace)
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    headers["traceparent"] = trace.parent.decode()
    media = headers.pop("content-type")
    del headers["content-length"]
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=media)


async def _release(front: Front) -> None:
    await front.stop.wait()
    front.waiters.stop()
    front.streams.stop()
    front.bodies.stop()


@asynccontextmanager
async def _running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The loops of the application, while it lives; one that fails says so in the log."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("http.loop_failed", loop=repr(task.get_coro()), exc_info=error)
