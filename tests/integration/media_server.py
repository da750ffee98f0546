"""A loopback web server that serves a real clip and misbehaves in every way that servers do."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

CLIP = Path(__file__).parents[2] / "examples" / "media" / "bigbuckbunny.mp4"

Answer = Callable[[asyncio.StreamWriter, "MediaServer"], Awaitable[None]]


class MediaServer:
    """Running server: `url` of a path on it, and the requests it got (`lines`, `headers`)."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.port = 0
        self.lines: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.hung_up = asyncio.Event()
        self.released = asyncio.Event()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = await self._read_request(reader)
            await ANSWERS.get(path.split("?")[0], not_found)(writer, self)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()

    async def _read_request(self, reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.strip().split("\r\n")
        self.lines.append(line)
        pairs = (field.split(": ", 1) for field in fields)
        self.headers.append({name.lower(): value for name, value in pairs})
        return line.split()[1]


@asynccontextmanager
async def serve_media(tls: ssl.SSLContext | None = None) -> AsyncIterator[MediaServer]:
    running = MediaServer("https" if tls else "http")
    server = await asyncio.start_server(running.answer, "127.0.0.1", 0, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        running.released.set()
        server.close()
        await server.wait_closed()


def head(status: str, **fields: object) -> bytes:
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n").encode("latin-1")


def always(status: str, body: bytes = b"", **fields: object) -> Answer:
    async def answer(writer: asyncio.StreamWriter, _: MediaServer) -> None:
        writer.write(head(status, **{"content_length": len(body), **fields}) + body)
        await writer.drain()

    return answer


async def clip(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    body = await asyncio.to_thread(CLIP.read_bytes)
    writer.write(head("200 OK", content_type="video/mp4", content_length=len(body)) + body)
    await writer.drain()


async def chunked(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    writer.write(head("200 OK", transfer_encoding="chunked"))
    for _number in range(4):
        writer.write(b"5\r\nhello\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def endless(writer: asyncio.StreamWriter, server: MediaServer) -> None:
    """A body without a declared length that goes on for as long as somebody reads."""
    writer.write(head("200 OK"))
    while not server.released.is_set():
        writer.write(b"x" * 65536)
        await writer.drain()


async def shorter_than_declared(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    writer.write(head("200 OK", content_length=1000) + b"only this")
    await writer.drain()


async def longer_than_declared(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    writer.write(head("200 OK", content_length=5) + b"hello, and much more" * 1000)
    await writer.drain()


async def stalls_before_answer(_: asyncio.StreamWriter, server: MediaServer) -> None:
    await server.released.wait()


async def stalls_in_body(writer: asyncio.StreamWriter, server: MediaServer) -> None:
    writer.write(head("200 OK", content_length=4_000_000) + b"x" * 3_000_000)
    await writer.drain()
    await server.released.wait()


async def resets(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    writer.write(head("200 OK", content_length=4_000_000) + b"x" * 100_000)
    await writer.drain()
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def hangs_up(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    writer.close()


async def garbage(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    writer.write(b"\x00\xff not http at all\r\n\r\n")
    await writer.drain()


async def huge_headers(writer: asyncio.StreamWriter, _: MediaServer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"x-fill: " + b"y" * 1_000_000 + b"\r\n\r\n")
    await writer.drain()


async def redirect_with_endless_body(writer: asyncio.StreamWriter, server: MediaServer) -> None:
    writer.write(head("302 Found", location="/clip"))
    while not server.released.is_set():
        writer.write(b"x" * 65536)
        await writer.drain()


async def not_found(writer: asyncio.StreamWriter, server: MediaServer) -> None:
    await always("404 Not Found", b"no such thing")(writer, server)


ANSWERS: dict[str, Answer] = {
    "/clip": clip,
    "/chunked": chunked,
    "/endless": endless,
    "/short": shorter_than_declared,
    "/long": longer_than_declared,
    "/stall": stalls_before_answer,
    "/stall-body": stalls_in_body,
    "/reset": resets,
    "/hang-up": hangs_up,
    "/garbage": garbage,
    "/huge-headers": huge_headers,
    "/redirect-endless": redirect_with_endless_body,
    "/empty": always("200 OK", b""),
    "/text": always("200 OK", b"this is no video", content_type="text/plain"),
    "/gzip": always("200 OK", b"\x1f\x8b", content_encoding="gzip"),
    "/huge": always("200 OK", b"x", content_length=10**15),
    "/absurd-length": always("200 OK", b"x", content_length="9" * 400),
    "/negative-length": always("200 OK", b"x", content_length=-5),
    "/500": always("500 Internal Server Error"),
    "/503": always("503 Service Unavailable", retry_after=7),
    "/408": always("408 Request Timeout"),
    "/429": always("429 Too Many Requests", retry_after=12),
    "/429-date": always(
        "429 Too Many Requests",
        date="Sat, 01 Aug 2026 10:00:00 GMT",
        retry_after="Sat, 01 Aug 2026 10:01:30 GMT",
    ),
    "/429-junk": always("429 Too Many Requests", retry_after="soon"),
    "/429-never": always("429 Too Many Requests", retry_after=10**12),
    "/401": always("401 Unauthorized"),
    "/403": always("403 Forbidden"),
    "/410": always("410 Gone"),
    "/204": always("204 No Content"),
    "/206": always("206 Partial Content", b"part"),
    "/304": always("304 Not Modified"),
    "/300": always("300 Multiple Choices"),
    "/cookie": always("302 Found", location="/clip", set_cookie="session=secret"),
    "/loop": always("302 Found", location="/loop"),
    "/bad-location": always("302 Found", location="http://[::1/"),
    "/no-location": always("302 Found"),
    "/to-file": always("302 Found", location="file:///etc/passwd"),
    "/to-private": always("302 Found", location="http://10.0.0.1/"),
    "/hops-0": always("302 Found", location="/clip"),
    "/hops-1": always("301 Moved Permanently", location="/hops-0"),
    "/hops-2": always("303 See Other", location="/hops-1"),
    "/hops-3": always("307 Temporary Redirect", location="/hops-2"),
    "/hops-4": always("308 Permanent Redirect", location="/hops-3"),
    "/hops-5": always("302 Found", location="/hops-4"),
}
