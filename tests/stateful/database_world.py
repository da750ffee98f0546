"""Command buses on PostgreSQL as the world of two workers: a committer each, as in processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from msgspec import Raw

from adapters.clock import DatabaseClock
from adapters.committer import Committer
from adapters.decision import Committed
from adapters.mapper import EventMapper
from adapters.pool import Pool, fetch, open_pool
from adapters.queue import Heartbeat, Leases, wake_delayed
from domain.errors import DomainError
from domain.failure import failure
from domain.task import ConfirmCancel, ExpireTask, ReleaseTask, RunCommand, Task
from service.attempts import Attempts
from service.command import Origin
from service.command_bus import CommandBus
from service.identifiers import new_id
from service.submission import Submission
from service.task_types import TaskTypes
from tallystick.handler import Context, handler
from tests.stateful.two_workers import CREDITS, LATER, PRICE, Standing, Step

LEASE_SECONDS = 3_600.0
"""Leases lapse when a test says so, and at no other time."""
DAY_SECONDS = 86_400
TYPE = "contested"
ORIGIN = Origin(actor="user")
LAPSE = (
    "UPDATE tasks SET lease_until = '-infinity' WHERE id = %(id)s AND lease_until IS NOT NULL"
    " RETURNING id"
)
COME_DUE = (
    "UPDATE tasks SET delayed_until = '-infinity' WHERE id = %(id)s AND delayed_until IS NOT NULL"
    " RETURNING id"
)


class Nothing(msgspec.Struct):
    ok: int = 1


@handler(
    TYPE,
    price_credits=PRICE,
    retry_seconds=3_600,
    retry_seconds_max=3_600,
    queue_seconds_max=DAY_SECONDS,
    run_seconds_max=DAY_SECONDS,
)
async def contested(_given: Nothing, _context: Context) -> Nothing:
    """Never run: its workers' verbs are said by the test."""
    return Nothing()


@dataclass(frozen=True)
class Buses:
    """One for each worker, one for user and watchdog, and one whose clock is ahead."""

    workers: tuple[Attempts, Attempts]
    others: CommandBus
    ahead: Attempts
    pool: Pool


@asynccontextmanager
async def open_buses(dsn: str) -> AsyncIterator[Buses]:
    async with AsyncExitStack() as stack:
        types = TaskTypes([contested])

        async def bus(clock: DatabaseClock) -> CommandBus:
            committer = Committer(dsn, EventMapper(), clock)
            await committer.start()
            stack.push_async_callback(committer.close)
            return CommandBus(committer, types)

        async def attempts(clock: DatabaseClock) -> Attempts:
            return Attempts(await bus(clock), types)

        yield Buses(
            workers=(await attempts(DatabaseClock()), await attempts(DatabaseClock())),
            others=await bus(DatabaseClock()),
            ahead=await attempts(_Ahead()),
            pool=await stack.enter_async_context(open_pool(dsn, 4)),
        )


class _Ahead(DatabaseClock):
    """Past every deadline here."""

    def now(self) -> datetime:
        return super().now() + LATER


class DatabaseWorld:
    """A task and an account of its own among others in one database."""

    def __init__(self, buses: Buses) -> None:
        self._buses = buses
        self._leases = Leases(buses.pool, LEASE_SECONDS)
        self.account_id, self.task_id = new_id(), new_id()

    async def begin(self) -> None:
        bus = self._buses.others
        await bus.open_account(self.account_id, plan="unlimited", name=None, origin=ORIGIN)
        await bus.grant(
            self.account_id, amount=CREDITS, kind="paid", source_ref="1", reason="", origin=ORIGIN
        )
        submission = Submission(
            task_id=self.task_id, account_id=self.account_id, type=TYPE, input=Raw(b"{}")
        )
        await bus.submit(submission, origin=ORIGIN)

    async def end(self) -> None:
        """Leave nothing that the next world's workers could claim."""
        await self._told(self._proceed(self._buses.ahead, ExpireTask()))

    async def do(self, step: Step, token: int) -> str:
        match step.verb:
            case "claim":
                return await self._claim(step.worker)
            case "heartbeat" | "progress":
                percent = 7 if step.verb == "progress" else None
                beat = Heartbeat(task_id=self.task_id, token=token, percent=percent)
                return (await self._leases.renew([beat]))[0]
            case "rescue":
                return "ok" if await self._buses.others.rescue(10) else "quiet"
            case "lapse":
                await self._fetch(LAPSE, self.task_id)
                return "ok"
            case "come_due":
                await self._fetch(COME_DUE, self.task_id)
                await wake_delayed(self._buses.pool, 10)
                return "ok"
            case _:
                return await self._told(self._verb(step, token))

    def _verb(self, step: Step, token: int) -> Awaitable[Committed]:
        mine, others = self._buses.workers[step.worker], self._buses.others
        both, worker = (self.task_id, self.account_id), f"worker {step.worker}"
        verbs: dict[str, Callable[[], Awaitable[Committed]]] = {
            "stage": lambda: mine.reach_stage(
                self.task_id, token=token, stage="half", percent=50, worker=worker
            ),
            "complete": lambda: mine.complete(
                *both, token=token, result=Raw(b'{"ok":1}'), worker=worker
            ),
            "fail": lambda: mine.fail(
                *both, token=token, failure=failure("param_error"), worker=worker
            ),
            "fail_for_now": lambda: mine.fail(
                *both, token=token, failure=failure("network"), worker=worker
            ),
            "release": lambda: self._proceed(mine, ReleaseTask(token=token)),
            "confirm": lambda: self._proceed(mine, ConfirmCancel(token=token)),
            "cancel": lambda: others.cancel(*both, reason="", origin=ORIGIN),
            "expire": lambda: self._proceed(self._buses.ahead, ExpireTask()),
            "retry": lambda: others.retry(*both, origin=ORIGIN),
        }
        return verbs[step.verb]()

    def _proceed(self, attempts: Attempts, command: RunCommand) -> Awaitable[Committed]:
        return attempts.proceed(self.task_id, self.account_id, command, worker="any")

    async def _told(self, verb: Awaitable[Committed]) -> str:
        try:
            committed = await verb
        except DomainError as refusal:
            return refusal.code
        return "ok" if committed.events else "quiet"

    async def _claim(self, worker: int) -> str:
        claimed = await self._buses.workers[worker].claim(f"worker {worker}", [TYPE], 1)
        assert [task.id for task in claimed] in ([], [self.task_id])
        return f"token {claimed[0].token}" if claimed else "quiet"

    async def _fetch(self, query: LiteralString, stream_id: UUID) -> list[tuple[object, ...]]:
        return await fetch(self._buses.pool, query, {"id": stream_id})

    async def standing(self) -> Standing:
        [(data,)] = await self._fetch(
            "SELECT data::text FROM tasks WHERE id = %(id)s", self.task_id
        )
        state = msgspec.json.decode(str(data), type=Task)
        query = "SELECT available, held, captured FROM accounts WHERE id = %(id)s"
        [money] = await self._fetch(query, self.account_id)
        available, held, captured = (int(str(amount)) for amount in money)
        return Standing(
            *(state.status, state.token, state.stalls, state.failures, state.run, state.attempt),
            (state.credits_held, state.credits_charged, state.credits_released),
            (available, held, captured),
        )

    async def facts(self) -> Sequence[str]:
        query = (
            "SELECT topic FROM tallystick_events WHERE originator_id = %(id)s"
            " ORDER BY notification_id"
        )
        rows = [*await self._fetch(query, self.task_id), *await self._fetch(query, self.account_id)]
        return [str(row[0]).removesuffix(".v1") for row in rows]
