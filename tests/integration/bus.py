"""A command bus over a fresh database, with task types made for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from msgspec import Raw

from adapters.clock import DatabaseClock
from adapters.committer import Committer, CommitterLimits
from adapters.mapper import EventMapper
from adapters.pool import Pool, open_pool
from adapters.queue import Leases
from adapters.reusable_results import ReusableResults
from domain.task import Task
from service.attempts import Attempts
from service.command import Origin
from service.command_bus import CommandBus
from service.hooks import Hook, Hooks
from service.identifiers import new_id
from service.price_files import shipped_plans
from service.submission import Submission
from service.task_types import TaskTypes
from service.worker import Worker, WorkerLimits
from tallystick.handler import Handler

ORIGIN = Origin(actor="test")
CREDITS = 1_000
END_SECONDS_MAX = 20.0


class Never:
    """A wake-up channel that is lost: only polling finds work."""

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109
        await asyncio.sleep(timeout)


@dataclass
class Bench:
    """One process's parts and one account with `CREDITS`."""

    dsn: str
    committer: Committer
    bus: CommandBus
    attempts: Attempts
    types: TaskTypes
    pool: Pool
    leases: Leases
    account_id: UUID

    async def submit(self, type_: str, task_input: object = None, **fields: Any) -> UUID:
        task_id = new_id()
        submission = Submission(
            task_id=task_id,
            account_id=self.account_id,
            type=type_,
            input=Raw(msgspec.json.encode(task_input or {})),
            **fields,
        )
        await self.bus.submit(submission, origin=ORIGIN)
        return task_id

    def worker(self, *hooks: Hook, **limits: Any) -> Worker:
        quick = {"poll_seconds": 0.05, "progress_seconds": 0.05, "heartbeat_seconds": 0.1}
        return Worker(
            self.attempts,
            self.leases,
            self.types,
            Never(),
            fetch=None,  # type: ignore[arg-type] # these handlers fetch and store nothing
            objects=lambda _: None,  # type: ignore[arg-type,return-value]
            limits=WorkerLimits(**{**quick, **limits}),
            hooks=Hooks(hooks),
        )

    def row(self, query: str, *values: object) -> tuple[Any, ...]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row

    def task(self, task_id: UUID) -> Task:
        """The task's state in its read model, without its documents."""
        (data,) = self.row("SELECT data::text FROM tasks WHERE id = %s", task_id)
        return msgspec.json.decode(data, type=Task)

    def result(self, task_id: UUID) -> object:
        return self.row("SELECT result FROM tasks WHERE id = %s", task_id)[0]

    def money(self) -> tuple[int, int, int]:
        """Available, held and captured credits of the account."""
        query = "SELECT available, held, captured FROM accounts WHERE id = %s"
        available, held, captured = self.row(query, self.account_id)
        return available, held, captured

    def topics(self, stream_id: UUID) -> list[str]:
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute(
                "SELECT topic FROM tallystick_events WHERE originator_id = %s"
                " ORDER BY originator_version",
                (stream_id,),
            )
            return [row[0].removesuffix(".v1") for row in rows]


@asynccontextmanager
async def opened(
    dsn: str, handlers: Iterable[Handler], *, lease_seconds: float = 30.0, plan: str = "unlimited"
) -> AsyncIterator[Bench]:
    committer = Committer(
        dsn,
        EventMapper(),
        DatabaseClock(),
        CommitterLimits(lease_seconds=lease_seconds),
        shipped_plans(),
    )
    await committer.start()
    types = TaskTypes(handlers)
    account_id = new_id()
    async with open_pool(dsn, 4) as pool:
        bus = CommandBus(committer, types, ReusableResults(pool))
        await bus.open_account(account_id, plan=plan, name=None, origin=ORIGIN)
        await bus.grant(
            account_id, amount=CREDITS, kind="paid", source_ref="test", reason="", origin=ORIGIN
        )
        attempts = Attempts(bus, types)
        leases = Leases(pool, lease_seconds)
        yield Bench(dsn, committer, bus, attempts, types, pool, leases, account_id)
    await committer.close()


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker for as long as the block; then stop it in order."""
    job = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        async with asyncio.timeout(END_SECONDS_MAX):
            await job


async def ended(bench: Bench, task_id: UUID) -> Task:
    """The task once it has ended."""
    async with asyncio.timeout(END_SECONDS_MAX):
        while not (task := await asyncio.to_thread(bench.task, task_id)).ended:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return task
