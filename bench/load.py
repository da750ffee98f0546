"""A small HTTP load generator: keep-alive connections that each wait for their answer."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import NamedTuple


class Load(NamedTuple):
    """Requests a second, and milliseconds of each at the median and the 99th percentile."""

    rps: float
    p50_ms: float
    p99_ms: float


async def load(port: int, requests: list[bytes], connections: int, *, status: int) -> Load:
    """Send prepared requests over that many connections; every answer must have that status."""
    numbers = iter(requests)
    waits: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in numbers:
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_content_length(head))
            waits.append(time.perf_counter() - begun)
            assert int(head[9:12]) == status, head.decode()
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    seconds = time.perf_counter() - begun
    waits.sort()
    return Load(
        rps=len(waits) / seconds,
        p50_ms=statistics.median(waits) * 1000,
        p99_ms=waits[int(len(waits) * 0.99)] * 1000,
    )


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """One prepared POST of a JSON body."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
