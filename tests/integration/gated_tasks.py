"""Task types that share providers, two processes' parts on one database, and tasks in bulk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from domain.task import Task
from service.gates import Gates
from service.identifiers import new_id
from service.submission import Submission
from tallystick.handler import Context, Handler, Provider, handler
from tests.integration.bus import ORIGIN, Bench, opened

FIVE = Provider("five", running_tasks_max=5)
MINUTE_STARTS = 1_200
PACED = Provider("paced", starts_per_minute_max=MINUTE_STARTS)
SHUT = Provider("shut")


class Ask(msgspec.Struct, frozen=True):
    n: int = 0


class Reply(msgspec.Struct, frozen=True):
    n: int = 0


def _type(name: str, provider: Provider | None = None, **limits: Any) -> Handler:
    @handler(name, price_credits=0, provider=provider, **limits)
    async def run(ask: Ask, context: Context) -> Reply:
        return Reply()

    return run


FREE = _type("free")
IMAGE, VIDEO = _type("image", FIVE), _type("video", FIVE)
BEAT = _type("beat", PACED)
TALK, SING = _type("talk", SHUT, retry_seconds=7.0), _type("sing", SHUT)
NARROW = _type("narrow", running_tasks_max=2)
TYPES = [FREE, IMAGE, VIDEO, BEAT, TALK, SING, NARROW]


@asynccontextmanager
async def two_processes(dsn: str) -> AsyncIterator[tuple[Bench, Bench]]:
    async with opened(dsn, TYPES) as one, opened(dsn, TYPES) as other:
        yield one, other


def gates_of(bench: Bench) -> Gates:
    return Gates(bench.bus, bench.types, bench.pool)


async def submit(
    bench: Bench, type_: str, count: int = 1, *, account_id: UUID | None = None, **fields: Any
) -> list[UUID]:
    """Ids of that many queued tasks of one type, in the order of their turns."""
    owner = account_id or bench.account_id
    made = [
        Submission(task_id=new_id(), account_id=owner, type=type_, input=Raw(b"{}"), **fields)
        for _ in range(count)
    ]
    await bench.bus.submit_many(owner, made, origin=ORIGIN)
    return [submission.task_id for submission in made]


async def account(bench: Bench) -> UUID:
    account_id = new_id()
    await bench.bus.open_account(account_id, plan="unlimited", name=None, origin=ORIGIN)
    return account_id


async def finish(bench: Bench, task: Task) -> None:
    await bench.attempts.complete(
        task.id, task.account_id, token=task.token, result=Raw(b"{}"), worker="w"
    )
