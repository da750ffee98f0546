"""The API's server; apart from the other parts of a process, which start faster without it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from typing import Any

import uvicorn

from service.bootstrap import Service
from service.http.app import create_app
from service.http.server_protocol import PatientProtocol

KEEP_ALIVE_SECONDS = 75
"""Longer than clients and balancers keep idle connections, so that none is closed under them."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which tells when it serves."""

    def __init__(self, service: Service, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """`stop` ends the answers that would last, `ready` is set when the first may be asked."""
        super().__init__(
            uvicorn.Config(
                create_app(service, stop),
                loop="none",
                http=PatientProtocol.of(service.settings.http_take_seconds_max),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(service.settings.drain_seconds_max),
            )
        )
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Any:  # noqa: ANN401 - as uvicorn declares it
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()
