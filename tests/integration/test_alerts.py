"""Processors tell of a backlog once between them, a tick too, and hooks come by their path."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from adapters.backlogs import Alert
from service.alerts import load_alert_hooks
from service.bootstrap import Service, open_service
from service.processes import run_processors
from service.settings import Settings
from service.tick import tick
from tests.integration.heard_alerts import listen
from tests.integration.queued_tasks import put_tasks


@pytest.fixture
async def services(database: str, tmp_path: Path) -> AsyncIterator[list[Service]]:
    settings = Settings(
        database_url=database,
        data_folder=tmp_path,
        backlog_tasks_max=2,
        backlog_seconds=0,
        alert_hooks=("tests.integration.heard_alerts:hear",),
    )
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_service(settings)) for _ in range(3)]


async def test_several_processes_tell_once_of_a_backlog_and_once_of_its_end(
    database: str, services: list[Service]
) -> None:
    stop, heard = asyncio.Event(), listen()
    told: Counter[tuple[str, str]] = Counter()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(run_processors(service, stop))
        for type_ in ("a", "b"):
            put_tasks(database, 3, type_)
            told[await moment(heard)] += 1
        with psycopg.connect(database) as connection:
            connection.execute("UPDATE tasks SET status = 'completed' WHERE type = 'a'")
        told[await moment(heard)] += 1
        put_tasks(database, 3, "c")
        told[await moment(heard)] += 1
        stop.set()
    assert heard.empty()
    assert told == {
        ("backlog.raised", "a"): 1,
        ("backlog.raised", "b"): 1,
        ("backlog.over", "a"): 1,
        ("backlog.raised", "c"): 1,
    }


async def moment(heard: asyncio.Queue[Alert]) -> tuple[str, str]:
    alert = await heard.get()
    return alert.moment, alert.type


async def test_a_tick_tells_too(database: str, services: list[Service]) -> None:
    heard = listen()
    put_tasks(database, 3, "of nobody here")
    await tick(services[0], 5)
    assert await moment(heard) == ("backlog.raised", "of nobody here")


def test_a_hook_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="is not a function"):
        load_alert_hooks(["tests.integration.heard_alerts:NOT_A_FUNCTION"])
