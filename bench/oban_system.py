"""oban for Python (its open-source edition): one queue of fifty, a pool of twenty connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from oban import Oban, job
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

from bench import database
from bench.system import Started, acknowledged, timed

DATABASE = "bench_oban"
LIMIT = 50
POOL = 20
BULK_JOBS = 1_000
_started: list[Started] = []


@job(queue="default")
async def noop(n: int = 0, t: float = 0.0) -> None:  # noqa: ARG001
    """Do nothing; oban finds its jobs by module, so this one stands alone."""
    for started in _started:
        started(t)


class ObanSystem:
    """One worker process with a queue of `LIMIT`."""

    name = "oban"
    settings = f"queue of {LIMIT}, pool {POOL}, uvloop"
    drain_jobs = 10_000

    @asynccontextmanager
    async def _pool(self, connections: int) -> AsyncIterator[AsyncConnectionPool]:
        pool: AsyncConnectionPool = AsyncConnectionPool(
            database.dsn(DATABASE), min_size=connections, max_size=connections, open=False
        )
        async with pool:
            await pool.wait()
            yield pool

    def reset(self) -> None:
        database.fresh(DATABASE)
        asyncio.run(self._install())

    async def _install(self) -> None:
        async with self._pool(2) as pool:
            await install(pool)

    async def enqueue(self, jobs: int, enqueuers: int) -> float:
        async with self._pool(enqueuers) as pool:
            oban = Oban(pool=pool)
            return await timed([lambda n: oban.enqueue(noop.new(n=n))] * enqueuers, jobs)

    async def bulk(self, jobs: int) -> float:
        async with self._pool(2) as pool:
            oban = Oban(pool=pool)
            begun = time.perf_counter()
            for _ in range(0, jobs, BULK_JOBS):
                await oban.enqueue_many([noop.new(n=n) for n in range(BULK_JOBS)])
            return time.perf_counter() - begun

    def done(self) -> int:
        query = "SELECT count(*) FROM oban_jobs WHERE state = 'completed'"
        return database.count(DATABASE, query)

    async def drain(self, jobs: int) -> float:
        run = 0
        ended = asyncio.Event()

        def count(_: float) -> None:
            nonlocal run
            run += 1
            if run == jobs:
                ended.set()

        _started.append(count)
        async with self._pool(POOL) as pool:
            oban = Oban(pool=pool, queues={"default": LIMIT})
            begun = time.perf_counter()
            await oban.start()
            await ended.wait()
            await acknowledged(self.done, jobs)
            seconds = time.perf_counter() - begun
            await oban.stop()
        return seconds

    async def work(self, started: Started) -> None:
        _started.append(started)
        async with self._pool(POOL) as pool, Oban(pool=pool, queues={"default": LIMIT}):
            await asyncio.Event().wait()

    async def send(self, pause: Callable[[], Awaitable[None]], jobs: int) -> None:
        async with self._pool(2) as pool:
            oban = Oban(pool=pool)
            await oban.start()
            for number in range(jobs):
                await oban.enqueue(noop.new(n=number, t=time.time()))
                await pause()
            await oban.stop()
