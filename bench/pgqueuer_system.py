"""pgqueuer, the fastest Python peer: batched claims, buffered acknowledgements, asyncpg."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from bench import database
from bench.system import Started, timed

DATABASE = "bench_pgqueuer"
MANAGERS = 2
BATCH = 100
BULK_JOBS = 1_000


async def _driver() -> AsyncpgDriver:
    server = database.server()
    connection = await asyncpg.connect(
        host=_socket_folder(server.dsn(DATABASE)), user="postgres", database=DATABASE
    )
    return AsyncpgDriver(connection)


def _socket_folder(dsn: str) -> str:
    import psycopg.conninfo  # noqa: PLC0415 - only here

    return str(psycopg.conninfo.conninfo_to_dict(dsn)["host"])


class PgQueuerSystem:
    """`MANAGERS` queue managers in one worker process, claims of `BATCH`."""

    name = "pgqueuer"
    settings = f"asyncpg, {MANAGERS} managers x {BATCH}, uvloop"
    drain_jobs = 10_000

    def reset(self) -> None:
        database.fresh(DATABASE)
        asyncio.run(self._install())

    async def _install(self) -> None:
        await Queries(await _driver()).install()

    async def enqueue(self, jobs: int, enqueuers: int) -> float:
        queries = [Queries(await _driver()) for _ in range(enqueuers)]

        def caller(query: Queries) -> Callable[[int], Awaitable[object]]:
            return lambda _: query.enqueue("noop", b"0", 0)

        return await timed([caller(query) for query in queries], jobs)

    async def bulk(self, jobs: int) -> float:
        queries = Queries(await _driver())
        begun = time.perf_counter()
        for _ in range(0, jobs, BULK_JOBS):
            await queries.enqueue(["noop"] * BULK_JOBS, [b"0"] * BULK_JOBS, [0] * BULK_JOBS)
        return time.perf_counter() - begun

    def done(self) -> int:
        query = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
        return database.count(DATABASE, query)

    async def _managers(self, count: int, started: Started | None) -> list[PgQueuer]:
        managers = []
        for _ in range(count):
            manager = PgQueuer(await _driver())

            @manager.entrypoint("noop")
            async def noop(job: object) -> None:
                if started is not None:
                    started(float(job.payload))  # type: ignore[attr-defined]

            managers.append(manager)
        return managers

    async def drain(self, jobs: int) -> float:  # noqa: ARG002 - its drain mode ends by itself
        managers = await self._managers(MANAGERS, None)
        begun = time.perf_counter()
        mode = QueueExecutionMode.drain
        await asyncio.gather(*(m.run(batch_size=BATCH, mode=mode) for m in managers))
        return time.perf_counter() - begun

    async def work(self, started: Started) -> None:
        [manager] = await self._managers(1, started)
        await manager.run(batch_size=BATCH)

    async def send(self, pause: Callable[[], Awaitable[None]], jobs: int) -> None:
        queries = Queries(await _driver())
        for _ in range(jobs):
            await queries.enqueue("noop", str(time.time()).encode(), 0)
            await pause()
