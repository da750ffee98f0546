"""procrastinate: one worker process, fifty concurrent jobs, LISTEN/NOTIFY."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import procrastinate

from bench import database
from bench.system import Started, timed

DATABASE = "bench_procrastinate"
CONCURRENCY = 50
POOL = 10
BULK_JOBS = 1_000


class ProcrastinateSystem:
    """Its own application with one task; `drain_jobs` is smaller because it takes long."""

    name = "procrastinate"
    settings = f"async worker, concurrency {CONCURRENCY}, pool {POOL}, uvloop"
    drain_jobs = 5_000

    @asynccontextmanager
    async def _opened(
        self, connections: int, started: Started | None = None
    ) -> AsyncIterator[tuple[procrastinate.App, procrastinate.tasks.Task]]:
        connector = procrastinate.PsycopgConnector(
            conninfo=database.dsn(DATABASE), min_size=1, max_size=connections
        )
        app = procrastinate.App(connector=connector)

        @app.task(name="noop", pass_context=False)
        async def noop(n: int = 0, t: float = 0.0) -> None:  # noqa: ARG001
            if started is not None:
                started(t)

        async with app.open_async():
            yield app, noop

    def reset(self) -> None:
        import asyncio  # noqa: PLC0415 - only here

        database.fresh(DATABASE)
        asyncio.run(self._install())

    async def _install(self) -> None:
        async with self._opened(1) as (app, _):
            await app.schema_manager.apply_schema_async()

    async def enqueue(self, jobs: int, enqueuers: int) -> float:
        async with self._opened(enqueuers) as (_, noop):
            return await timed([lambda n: noop.defer_async(n=n)] * enqueuers, jobs)

    async def bulk(self, jobs: int) -> float:
        async with self._opened(POOL) as (_, noop):
            begun = time.perf_counter()
            for first in range(0, jobs, BULK_JOBS):
                await noop.batch_defer_async(*({"n": first + n} for n in range(BULK_JOBS)))
            return time.perf_counter() - begun

    def done(self) -> int:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
        return database.count(DATABASE, query)

    async def drain(self, jobs: int) -> float:  # noqa: ARG002 - it ends when all are done
        async with self._opened(POOL) as (app, _):
            begun = time.perf_counter()
            await app.run_worker_async(
                concurrency=CONCURRENCY, wait=False, install_signal_handlers=False
            )
            return time.perf_counter() - begun

    async def work(self, started: Started) -> None:
        async with self._opened(POOL, started) as (app, _):
            await app.run_worker_async(concurrency=CONCURRENCY)

    async def send(self, pause: Callable[[], Awaitable[None]], jobs: int) -> None:
        async with self._opened(POOL) as (_, noop):
            for number in range(jobs):
                await noop.defer_async(n=number, t=time.time())
                await pause()
