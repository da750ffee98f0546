"""The Litestar application: the routes, over the parts of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import MethodNotAllowedException

from adapters.api_keys import KEYS_CHANGED
from adapters.shared_secret import shared_secret
from service.bootstrap import Service
from service.http.body import Bodies
from service.http.call import Front
from service.http.cursors import PURPOSE, Cursors
from service.http.estimates import Estimates
from service.http.idempotency import InFlight
from service.http.metrics import Metrics
from service.http.openapi import openapi_bytes
from service.http.owners import Owners
from service.http.problem import as_ours
from service.http.refusals import MethodNotAllowed
from service.http.route import litestar_handler, refused
from service.http.routes import ROUTES, allowed_methods
from service.http.streams import Streams
from service.http.trace import trace_of
from service.http.waiters import Waiters

_log = structlog.get_logger(__name__)


def create_app(service: Service, stop: asyncio.Event | None = None) -> Litestar:
    """The API over an open service.

    When `stop` is set, requests that wait for a task are answered with what there is, streams and
    ticks end, and bodies that have not arrived are refused: none holds up the shutdown.
    """
    stop = stop or asyncio.Event()
    owners = Owners(service.pool)
    front = Front(
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
        openapi=openapi_bytes(),
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        front.cursors.use(await shared_secret(service.pool, PURPOSE))
        async with _running(
            front.waiters.run(),
            front.estimates.run(),
            front.streams.run(),
            service.keys.follow(service.wakeup.watch(only=KEYS_CHANGED)),
            _release(front),
        ):
            yield

    return Litestar(
        [litestar_handler(route, front) for route in ROUTES],
        lifespan=[lifespan],
        exception_handlers={Exception: _refuse},
        openapi_config=None,
        logging_config=None,
    )


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
