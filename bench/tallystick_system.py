"""Tallystick itself: every job is a metered task, with hold, start, end and capture in the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
import psycopg
from msgspec import Raw

from adapters.migrate import migrate
from bench import database
from bench.system import Started, acknowledged, timed
from service.bootstrap import Service, open_service
from service.command import Origin
from service.garbage import calm_garbage_collection
from service.identifiers import new_id
from service.settings import Settings
from service.submission import Submission
from tallystick.handler import Context, Handler, handler

ACCOUNTS = 50
BULK_TASKS = 500
BATCH = 100
DATABASE = "bench_tallystick"
ORIGIN = Origin(actor="bench")


class Job(msgspec.Struct, frozen=True):
    """The number of the job and the second it was sent."""

    n: int = 0
    sent: float = 0.0


class Done(msgspec.Struct, frozen=True):
    """The least result."""

    ok: bool = True


def _noop(started: Started | None) -> Handler:
    @handler("noop", price_credits=1)
    async def noop(job: Job, context: Context) -> Done:  # noqa: ARG001
        """Do nothing, as the peers' jobs do."""
        if started is not None:
            started(job.sent)
        return Done()

    return noop


NOOP = _noop(None)
"""The task type by the path that the HTTP server's settings name."""


class Tallystick:
    """One committer in the enqueuing process; one worker process with batches of `BATCH`."""

    name = "tallystick"
    settings = f"metered, {ACCOUNTS} accounts, claims of {BATCH}, uvloop"
    drain_jobs = 10_000

    def reset(self) -> None:
        dsn = database.fresh(DATABASE)
        migrate(dsn)
        asyncio.run(self._open_accounts())

    async def _open_accounts(self) -> None:
        async with self.opened() as service:
            for number in range(ACCOUNTS):
                account = new_id()
                await service.bus.open_account(account, plan="unlimited", name=None, origin=ORIGIN)
                await service.bus.grant(
                    account,
                    amount=1_000_000_000,
                    kind="paid",
                    source_ref=f"bench {number}",
                    reason="benchmark",
                    origin=ORIGIN,
                )

    @asynccontextmanager
    async def opened(self, started: Started | None = None) -> AsyncIterator[Service]:
        settings = Settings(
            database_url=database.dsn(DATABASE),
            data_folder=database.folder() / "data",
            worker_concurrency=BATCH,
            claim_batch_max=BATCH,
        )
        async with open_service(settings, handlers=[_noop(started)]) as service:
            with calm_garbage_collection():  # as in its processes
                yield service

    def _accounts(self) -> list[UUID]:
        with psycopg.connect(database.dsn(DATABASE)) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM accounts ORDER BY id")]

    async def enqueue(self, jobs: int, enqueuers: int) -> float:
        accounts = self._accounts()
        async with self.opened() as service:

            async def submit(number: int) -> None:
                account = accounts[number % ACCOUNTS]
                await service.bus.submit(submission(account, number, 0.0), origin=ORIGIN)

            return await timed([submit] * enqueuers, jobs)

    async def bulk(self, jobs: int) -> float:
        accounts = self._accounts()
        async with self.opened() as service:

            async def submit(number: int) -> None:
                account = accounts[number % ACCOUNTS]
                submissions = [submission(account, n, 0.0) for n in range(BULK_TASKS)]
                await service.bus.submit_many(account, submissions, origin=ORIGIN)

            return await timed([submit], jobs // BULK_TASKS)

    def done(self) -> int:
        """Completed tasks; -1 if any of them is not paid for, which would never come to an end."""
        return database.count(
            DATABASE,
            "SELECT CASE WHEN done = captured THEN done ELSE -1 END FROM"
            " (SELECT count(*) AS done FROM tasks WHERE status = 'completed') AS t,"
            " (SELECT sum(captured) AS captured FROM accounts) AS a",
        )

    async def drain(self, jobs: int) -> float:
        run = 0
        ended = asyncio.Event()

        def count(_: float) -> None:
            nonlocal run
            run += 1
            if run == jobs:
                ended.set()

        async with self.opened(count) as service:
            worker = service.worker()
            begun = time.perf_counter()
            working = asyncio.create_task(worker.run())
            await ended.wait()
            await acknowledged(self.done, jobs)
            seconds = time.perf_counter() - begun
            worker.stop()
            await working
        return seconds

    async def claim(self, claims: int, limit: int, *, warm: int) -> float:
        """Seconds for that many full claims, one after the other; the first ones do not count."""
        async with self.opened() as service:
            for _ in range(warm):
                await service.attempts.claim("bench", ["noop"], limit)
            begun = time.perf_counter()
            for _ in range(claims):
                claimed = await service.attempts.claim("bench", ["noop"], limit)
                assert len(claimed) == limit, "the queue must not run dry"
            return time.perf_counter() - begun

    async def work(self, started: Started) -> None:
        async with self.opened(started) as service:
            await service.worker().run()

    async def send(self, pause: Callable[[], Awaitable[None]], jobs: int) -> None:
        accounts = self._accounts()
        async with self.opened() as service:
            for number in range(jobs):
                account = accounts[number % ACCOUNTS]
                sent = submission(account, number, time.time())
                await service.bus.submit(sent, origin=ORIGIN)
                await pause()


def submission(account: UUID, number: int, sent: float) -> Submission:
    return Submission(
        task_id=new_id(),
        account_id=account,
        type="noop",
        input=Raw(msgspec.json.encode(Job(number, sent))),
    )
