"""HTTP submissions a second, each durable and metered, beside a bare route on the same server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
import psycopg

from bench import database
from bench.load import Load, load, post
from bench.tallystick_system import DATABASE, Tallystick
from service.bootstrap import open_service
from service.settings import Settings

CONNECTIONS = 32
REQUESTS = 8_000
WARM_REQUESTS = 1_000
START_SECONDS_MAX = 30.0


def measure() -> dict[str, object]:
    """`http_rps` and latency of submissions, `http_bare_rps` of the bare route."""
    system = Tallystick()
    system.reset()
    keys = asyncio.run(_keys())
    port = _free_port()
    body = b'{"type":"noop","input":{"n":1}}'
    submissions = [
        post("/v1/tasks", body, {"Authorization": f"Bearer {keys[n % len(keys)]}"})
        for n in range(REQUESTS)
    ]
    with _server(_serve_command(), port, "/health/live"):
        asyncio.run(load(port, submissions[:WARM_REQUESTS], CONNECTIONS, status=202))
        ours = asyncio.run(load(port, submissions, CONNECTIONS, status=202))
    port = _free_port()
    plain = [post("/bare", body)] * REQUESTS
    with _server(_bare_command(port), port, "/bare"):
        asyncio.run(load(port, plain[:WARM_REQUESTS], CONNECTIONS, status=202))
        bare = asyncio.run(load(port, plain, CONNECTIONS, status=202))
    return _figures(ours, bare)


def _figures(ours: Load, bare: Load) -> dict[str, object]:
    return {
        "http_rps": ours.rps,
        "http_p50_ms": ours.p50_ms,
        "http_p99_ms": ours.p99_ms,
        "http_bare_rps": bare.rps,
    }


async def _keys() -> list[str]:
    """One user key for each of the benchmark's accounts."""
    settings = Settings(database_url=database.dsn(DATABASE), data_folder=database.folder() / "data")
    async with open_service(settings) as service:
        return [
            (await service.keys.create("user", account_id=account, name="bench")).secret
            for account in _accounts()
        ]


def _accounts() -> list[UUID]:
    with psycopg.connect(database.dsn(DATABASE)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM accounts")]


def _serve_command() -> list[str]:
    return [sys.executable, "-m", "service.cli", "serve"]


def _bare_command(port: int) -> list[str]:
    words = ["bench.bare:app", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    return [sys.executable, "-m", "uvicorn", *words, "--no-access-log", "--log-level", "error"]


@contextmanager
def _server(command: list[str], port: int, path: str) -> Iterator[None]:
    environ = {
        **os.environ,
        "DATABASE_URL": database.dsn(DATABASE),
        "TALLYSTICK_DATA": str(database.folder() / "data"),
        "TALLYSTICK_HTTP_PORT": str(port),
        "TALLYSTICK_HANDLERS": "bench.tallystick_system:NOOP",
    }
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}{path}", process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    patience = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < patience and process.poll() is None:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)  # noqa: TID251 - another process is starting
        else:
            return
    message = f"{url} does not answer"
    raise RuntimeError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
