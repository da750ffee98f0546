"""What a system under measurement must offer, and the phases that each one goes through."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from bench import database

ENQUEUE_ONE = 2_000
ENQUEUE_MANY = 6_000
ENQUEUERS = 32
BULK = 10_000
DRAIN = 10_000
LATENCY = 200
WARM_SECONDS = 4.0
PATIENCE_SECONDS = 300.0

Started = Callable[[float], None]
"""Called with the second at which a job was sent, on the first line of its body."""


class System(Protocol):
    """A job queue on PostgreSQL.

    A job counts as enqueued when committed, as done when acknowledged there.
    """

    name: str
    settings: str
    drain_jobs: int

    def reset(self) -> None:
        """Make an empty database with the system's schema."""
        ...

    async def enqueue(self, jobs: int, enqueuers: int) -> float:
        """Seconds for that many jobs, each its own commit, by concurrent callers of a process."""
        ...

    async def bulk(self, jobs: int) -> float:
        """Seconds for that many jobs by the system's documented bulk call."""
        ...

    def done(self) -> int:
        """Jobs that the database says are done."""
        ...

    async def drain(self, jobs: int) -> float:
        """Seconds for one worker process until the last acknowledgement is in the database."""
        ...

    async def work(self, started: Started) -> None:
        """Work until killed."""
        ...

    async def send(self, pause: Callable[[], Awaitable[None]], jobs: int) -> None:
        """Enqueue that many jobs that carry `time.time()`, with a pause after each."""
        ...


async def timed(callers: list[Callable[[int], Awaitable[object]]], jobs: int) -> float:
    """Seconds for `jobs` calls, shared by the callers."""
    numbers = iter(range(jobs))

    async def call(function: Callable[[int], Awaitable[object]]) -> None:
        for number in numbers:
            await function(number)

    begun = time.perf_counter()
    await asyncio.gather(*(call(function) for function in callers))
    return time.perf_counter() - begun


async def acknowledged(done: Callable[[], int], jobs: int) -> None:
    """Return when the database says that all are done: the last acknowledgement counts."""
    while done() < jobs:  # noqa: ASYNC110 - the database has no event to wait for
        await asyncio.sleep(0.01)


def run(main: Awaitable[float]) -> float:
    """Run on uvloop, as every system here may."""
    import uvloop  # noqa: PLC0415 - only where something runs

    async def awaiting() -> float:
        return await main

    return uvloop.run(awaiting())


def measure(system: System) -> dict[str, object]:
    """All phases; the keys that the table and the peers' own harness know."""
    figures: dict[str, object] = {"peer": system.name, "cfg": system.settings}
    system.reset()
    figures["enq1"] = ENQUEUE_ONE / run(system.enqueue(ENQUEUE_ONE, 1))
    system.reset()
    figures["enq32"] = ENQUEUE_MANY / run(system.enqueue(ENQUEUE_MANY, ENQUEUERS))
    system.reset()
    figures["bulk"] = BULK / run(system.bulk(BULK))
    system.reset()
    jobs = system.drain_jobs
    run(system.bulk(jobs))
    database.settle(_database_of(system))
    figures["drain"] = jobs / in_process(system, "drain", str(jobs))
    figures["drain_done"] = system.done()
    system.reset()
    figures.update(_latency(system))
    return figures


def _database_of(system: System) -> str:
    return f"bench_{system.name}"


def _command(system: System, *words: str) -> list[str]:
    return [sys.executable, "-m", "bench", "--system", system.name, *words]


def in_process(system: System, *words: str) -> float:
    """Number that a part of the system prints, measured in a fresh process of its own."""
    log = database.folder() / f"{system.name}.log"
    with log.open("w") as file:
        done = subprocess.run(
            _command(system, *words),
            check=False,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{system.name}: {log.read_text()[-2_000:]}")
    return float(done.stdout.strip().splitlines()[-1])


def _latency(system: System) -> dict[str, object]:
    """Milliseconds from the enqueuing call to the job's first line, with an idle worker."""
    handle, name = tempfile.mkstemp(dir=database.folder(), prefix="latency-")
    os.close(handle)
    path = Path(name)
    database.settle(_database_of(system))
    worker = subprocess.Popen(
        _command(system, "work", name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(WARM_SECONDS)  # noqa: TID251 - let the worker's start pass

        async def send() -> float:
            await system.send(lambda: asyncio.sleep(random.uniform(0.02, 0.06)), LATENCY)
            return 0.0

        run(send())
        patience = time.monotonic() + PATIENCE_SECONDS / 5
        while len(path.read_text().splitlines()) < LATENCY and time.monotonic() < patience:
            time.sleep(0.1)  # noqa: TID251 - another process writes the file
    finally:
        worker.kill()
        worker.wait()
    waits = sorted(float(line) * 1000 for line in path.read_text().splitlines())
    path.unlink()
    return {
        "lat_n": len(waits),
        "lat_p50_ms": statistics.median(waits),
        "lat_p99_ms": waits[min(len(waits) - 1, int(len(waits) * 0.99))],
    }


def recorder(path: str) -> Started:
    """Writes the seconds since each job was sent, a line a job."""
    file = Path(path).open("a", buffering=1)  # noqa: SIM115 - open until the process is killed

    def started(sent: float) -> None:
        file.write(f"{time.time() - sent:.6f}\n")

    return started


def line(figures: dict[str, object]) -> str:
    """One JSON line, numbers to two places."""
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in figures.items()}
    return json.dumps(msgspec.to_builtins(rounded))
