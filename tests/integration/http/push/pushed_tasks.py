"""A type of pushed tasks, a service that has it, and what is seen and done of a task there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from service.identifiers import parse_id
from service.tick import tick
from tallystick.handler import Handler
from tallystick.push_type import push_type
from tests.integration.http.api import Api, Numbers, running_api
from tests.integration.push_receiver import Receiver, answers

PRICE = 7
LEASE_SECONDS = 1.0
ATTEMPT_SECONDS = 60
ACCEPT = answers("202 Accepted")


class Picture(msgspec.Struct, frozen=True):
    n: int
    title: str = ""
    words: tuple[str, ...] = ()


def pushed(receiver: Receiver, **more: Any) -> Handler:
    return push_type(
        "draw",
        endpoint=receiver.endpoint,
        input_type=Numbers,
        output_type=Picture,
        price_credits=PRICE,
        **{
            "attempt_seconds_max": ATTEMPT_SECONDS,
            "retry_seconds": 0.01,
            "retry_seconds_max": 0.02,
            **more,
        },
    )


@asynccontextmanager
async def api_of(
    database: str, folder: Path, receiver: Receiver, **more: Any
) -> AsyncIterator[Api]:
    settings: dict[str, Any] = {
        "allow_loopback_urls": True,
        "lease_seconds": LEASE_SECONDS,
        "heartbeat_seconds": 0.2,
        "poll_seconds": 0.05,
    }
    handlers = [pushed(receiver, **more)]
    async with running_api(database, folder, handlers, **settings) as running:
        yield running


async def submit(api: Api) -> str:
    task: dict[str, Any] = await api.submit(4, type="draw")
    task_id: str = task["id"]
    return task_id


async def read(api: Api, task_id: str) -> dict[str, Any]:
    task: dict[str, Any] = (await api.get(f"/v1/tasks/{task_id}")).json()
    return task


async def push(api: Api) -> None:
    """Let a worker take what waits, and hold nothing any more."""
    async with asyncio.timeout(30):
        await api.service.worker().run(until_idle=True)


async def push_until(api: Api, task_id: str, done: Callable[[dict[str, Any]], bool]) -> Any:
    """Sweep and work, as the running service does, until the task is as it should be."""
    async with asyncio.timeout(40):
        while not done(task := await read(api, task_id)):
            await tick(api.service, 5)
    return task


def ended(task: dict[str, Any]) -> bool:
    return task["status"] in {"completed", "failed", "cancelled"}


async def history(api: Api, task_id: str) -> list[str]:
    events = (await api.get(f"/v1/tasks/{task_id}/history")).json()["items"]
    return [event["type"] for event in events]


def lease_seconds(api: Api, task_id: str) -> float:
    """What is left of a task's lease, by the database's clock; negative once it lapsed."""
    query = (
        "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8"
        " FROM tasks WHERE id = %s"
    )
    with psycopg.connect(api.service.dsn) as connection:
        row = connection.execute(query, (parse_id("task", task_id),)).fetchone()
    assert row is not None
    assert row[0] is not None
    return float(row[0])


def lapse(api: Api, task_id: str) -> None:
    """The time of an endpoint that accepted is over, as if it had passed."""
    with psycopg.connect(api.service.dsn, autocommit=True) as connection:
        updated = connection.execute(
            "UPDATE tasks SET lease_until = clock_timestamp() - interval '1 s' WHERE id = %s",
            (parse_id("task", task_id),),
        )
    assert updated.rowcount == 1
