"""Somebody's endpoint on loopback: keeps what it is sent, and answers as its script says."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from adapters.signing_secret import secret_text
from service.bootstrap import Service
from service.push import secret_name
from tallystick.push import PushedTask, verify
from tests.integration.media_server import Answer, MediaServer, always


def answers(status: str, body: object = None, **fields: object) -> Answer:
    content = b"" if body is None else msgspec.json.encode(body)
    return always(status, content, content_type="application/json", **fields)


class Receiver(MediaServer):
    """`script` holds an answer for each delivery to come; `bodies` what came, as `headers` does."""

    def __init__(self, scheme: str) -> None:
        super().__init__(scheme)
        self.script: deque[Answer] = deque()
        self.bodies: list[bytes] = []
        self.arrived: asyncio.Queue[int] = asyncio.Queue()

    @property
    def endpoint(self) -> str:
        return self.url("/run")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._read_request(reader)
            length = int(self.headers[-1]["content-length"])
            self.bodies.append(await reader.readexactly(length))
            self.arrived.put_nowait(len(self.bodies) - 1)
            await self.script.popleft()(writer, self)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()

    async def next(self, service: Service) -> PushedTask:
        """The task of the next delivery, checked as its receiver has to."""
        async with asyncio.timeout(20):
            number = await self.arrived.get()
        type_: str = msgspec.json.decode(self.bodies[number])["data"]["type"]
        secret = await service.signing_secrets.get(secret_name(type_))
        return verify(self.headers[number], self.bodies[number], secret_text(secret.current))

    def body(self, number: int = 0) -> Any:
        return msgspec.json.decode(self.bodies[number])


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver("https" if tls else "http")
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.close()
        await server.wait_closed()
