"""Readers of streams that are too slow, or stuck: closed, and in nobody's way."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from tests.integration.http.api import SETUP, Api, running_api
from tests.integration.http.sse import SECONDS_MAX, listening, open_streams
from tests.integration.http.told_facts import log_of_account


class Stuck:
    """A client that reads nothing until it is told to, with as little room as the system allows."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def at(cls, api: Api, path: str) -> Stuck:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.settimeout(0)
        stuck = cls(connection)
        await stuck._loop.sock_connect(connection, ("127.0.0.1", api.port))
        request = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.secrets['user']}"
        await stuck._loop.sock_sendall(connection, f"{request}\r\n\r\n".encode())
        return stuck

    async def read(self) -> list[int]:
        """Ids of all whole events that came, up to the end of the connection."""
        data = b""
        with suppress(ConnectionError):
            while piece := await self._loop.sock_recv(self.connection, 65_536):
                data += piece
        self.connection.close()
        lines = [line for line in data.partition(b"\r\n\r\n")[2].split(b"\r\n") if line]
        text = b"".join(lines[1::2])
        whole = text[: text.rfind(b"\n\n")]
        return [int(found) for found in re.findall(rb"^id: (\d+)$", whole, re.MULTILINE)]


async def _grant(api: Api, number: int) -> None:
    """A fact of about 2 kB."""
    await api.service.bus.grant(
        api.account,
        amount=1,
        kind="paid",
        source_ref=f"much {number}",
        reason="x" * 2_000,
        origin=SETUP,
    )


async def _fill(api: Api, *, until_streams: int) -> None:
    """Write facts, more than the buffers between two sockets take, until so few are open."""
    numbers = count()
    open_now = f"tallystick_http_streams {until_streams}.0"
    async with asyncio.timeout(SECONDS_MAX):
        while open_now not in (await api.get("/metrics", None)).text:
            await asyncio.gather(*(_grant(api, next(numbers)) for _ in range(50)))


async def test_a_reader_that_is_too_slow_is_closed_and_resumes_where_it_was(
    database: str, tmp_path: Path
) -> None:
    async with running_api(database, tmp_path, stream_buffer_bytes_max=8_192) as api:
        stuck = await Stuck.at(api, "/v1/events")
        await open_streams(api, 1)
        await _fill(api, until_streams=0)
        begin, *got = await stuck.read()
        log = await log_of_account(api, after=begin)
        assert 0 < len(got) < len(log)
        async with listening(api, "/v1/events", after=got[-1]) as stream:
            while got[-1] < log[-1][0]:
                event = await stream.next()
                assert event is not None
                got.append(event.id or 0)
    assert got == [position for position, _ in log]


async def test_a_reader_that_is_stuck_holds_up_no_stop(database: str, tmp_path: Path) -> None:
    """Its connection is dropped, not only its place given back."""
    async with running_api(database, tmp_path, stream_buffer_bytes_max=64 * 2**20) as api:
        stuck = await Stuck.at(api, "/v1/events")
        await open_streams(api, 1)
        async with asyncio.timeout(SECONDS_MAX):
            for number in range(1_000):
                await _grant(api, number)
        api.stop.set()
        await open_streams(api, 0)
        assert [c for c in psutil.Process().net_connections("tcp") if _served(c, stuck)] == []
        assert await stuck.read()


def _served(connection: Any, stuck: Stuck) -> bool:
    """Whether it is the service's end of that client's connection, as this process holds it."""
    return bool(connection.raddr) and tuple(connection.raddr) == stuck.connection.getsockname()
