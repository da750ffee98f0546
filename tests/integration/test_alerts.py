"""Processors tell of a backlog once between them, a tick too, and hooks come by their path."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from standardwebhooks import Webhook

from adapters.backlogs import Alert
from service.alerts import load_alert_hooks
from service.bootstrap import Service, open_service
from service.processes import run_processors
from service.settings import BadSetting, Settings
from service.tick import tick
from tests.integration.heard_alerts import listen
from tests.integration.push_receiver import Receiver, answers, receiving
from tests.integration.queued_tasks import one_value, pass_seconds, put_tasks

SECRET = "whsec_" + "c2VjcmV0" * 4


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


# The endpoint.


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as server:
        yield server


def sending(database: str, tmp_path: Path, url: str) -> Settings:
    return Settings(
        database_url=database,
        data_folder=tmp_path,
        backlog_tasks_max=2,
        backlog_seconds=0,
        alert_hooks=("tests.integration.heard_alerts:hear",),
        alert_webhook_url=url,
        alert_webhook_secret=SECRET,
        allow_loopback_urls=True,
    )


async def test_an_alert_is_sent_signed_and_again_until_it_arrives(
    database: str, tmp_path: Path, receiver: Receiver
) -> None:
    """Its failure is in nobody's way: the hooks hear of it at once, and once."""
    heard = listen()
    receiver.script += [answers("500 Oh"), answers("302 Elsewhere"), answers("204 Fine")]
    put_tasks(database, 3, "video")
    async with open_service(sending(database, tmp_path, receiver.url("/alerts"))) as service:
        assert await service.alerts.sweep() == 1
        assert await moment(heard) == ("backlog.raised", "video")
        for seconds, told in ((30, 0), (60, 1)):
            assert await service.alerts.sweep() == 0
            pass_seconds(database, seconds)
            assert await service.alerts.sweep() == told
        pass_seconds(database, 9_999)
        assert await service.alerts.sweep() == 0
    assert heard.empty()
    assert len(receiver.bodies) == 3
    assert receiver.bodies[0] == receiver.bodies[2]
    sent = Webhook(SECRET).verify(receiver.bodies[2], receiver.headers[2])
    assert (sent["type"], sent["data"]["type"], sent["data"]["waiting"]) == (
        ("backlog.raised", "video", 3)
    )
    assert {headers["webhook-id"] for headers in receiver.headers} == {
        f"alert_{UUID(sent['data']['id']).hex}"
    }


async def test_an_endpoint_that_is_gone_gets_no_more(
    database: str, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.script += [answers("410 Gone")]
    put_tasks(database, 3)
    listen()
    async with open_service(sending(database, tmp_path, receiver.url("/alerts"))) as service:
        assert await service.alerts.sweep() == 2
        pass_seconds(database, 9_999)
        assert await service.alerts.sweep() == 0


async def test_an_endpoint_that_never_answers_is_given_up(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.alert_webhook.ATTEMPTS_MAX", 3)
    listen()
    put_tasks(database, 3)
    async with open_service(sending(database, tmp_path, "https://10.0.0.1/private")) as service:
        told = []
        for _ in range(5):
            told.append(await service.alerts.sweep())
            pass_seconds(database, 9_999)
    assert told == [1, 0, 1, 0, 0]


async def test_a_process_without_the_endpoint_lets_go_of_what_was_to_be_sent(
    database: str, tmp_path: Path, services: list[Service]
) -> None:
    listen()
    put_tasks(database, 3)
    async with open_service(sending(database, tmp_path, "https://10.0.0.1/private")) as service:
        assert await service.alerts.sweep() == 1
    pass_seconds(database, 9_999)
    assert await services[0].alerts.sweep() == 1
    assert one_value(database, "SELECT count(*) FROM alert_notices") == 0


@pytest.mark.parametrize(
    "secret", [None, "whsec_" + "A" * 35, "whsec_" + "A" * 88], ids=["none", "torn", "long"]
)
def test_an_endpoint_without_a_proper_secret_is_refused_at_the_start(secret: str | None) -> None:
    with pytest.raises(BadSetting, match="TALLYSTICK_ALERT_WEBHOOK_SECRET"):
        Settings(alert_webhook_url="https://example.com/a", alert_webhook_secret=secret)


def test_a_hook_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="is not a function"):
        load_alert_hooks(["tests.integration.heard_alerts:NOT_A_FUNCTION"])
