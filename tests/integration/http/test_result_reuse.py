"""A submission that finds a result is answered with it: 200, `reused_from`, and what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from service.cli.program import tallystick
from service.identifiers import new_id
from tallystick import AsyncClient
from tallystick.handler import Context, handler
from tests.integration.http.api import CREDITS, Api, Doubled, Numbers, running_api

PRICE, REUSE_PRICE = 5, 2


@handler("square", price_credits=PRICE, cache_seconds=600, cache_price_percent=50)
async def square(given: Numbers, _: Context) -> Doubled:
    """The number times itself, for half the price where it is known."""
    return Doubled(n=given.n**2)


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database, tmp_path, [square]) as running:
        yield running


async def submitted(api: Api, as_: str = "user", **headers: str) -> httpx.Response:
    return await api.post("/v1/tasks", {"type": "square", "input": {"n": 3}}, as_, **headers)


async def worked(api: Api, as_: str = "user") -> str:
    """Id of a task whose result is there."""
    task_id: str = (await submitted(api, as_)).json()["id"]
    [claimed] = await api.claim(types=["square"])
    answer = await api.work(task_id, "complete", claimed["token"], result={"n": 9})
    assert answer.status_code == 200
    return task_id


async def test_the_answer_is_the_ended_task(api: Api) -> None:
    first = await worked(api)
    answer = await submitted(api)
    task = answer.json()
    assert (answer.status_code, task["status"], task["reused_from"]) == (200, "completed", first)
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}"
    assert "retry-after" not in answer.headers
    assert task["result"] == {"n": 9}
    assert task["money"] == {
        "verdict": "charged", "credits": REUSE_PRICE, "sentence": "2 credits are charged.",
    }  # fmt: skip
    assert task["next"] == []
    shown = (await api.get(answer.headers["location"])).json()
    assert (shown["reused_from"], shown["result"]) == (first, {"n": 9})
    assert await api.balance() == (CREDITS - PRICE - REUSE_PRICE, 0, PRICE + REUSE_PRICE)


async def test_one_that_prefers_to_wait_has_not_to(api: Api) -> None:
    await worked(api)
    answer = await submitted(api, prefer="wait=60")
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")


async def test_who_asks_for_work_gets_work(api: Api) -> None:
    await worked(api)
    body = {"type": "square", "input": {"n": 3}, "cache": False}
    answer = await api.post("/v1/tasks", body)
    assert (answer.status_code, answer.json()["reused_from"]) == (202, None)


async def test_another_account_gets_nothing_of_it(api: Api) -> None:
    await worked(api)
    assert (await submitted(api, "other")).status_code == 202


async def test_sent_again_it_is_answered_alike_and_charged_once(api: Api) -> None:
    await worked(api)
    answers = [await submitted(api, idempotency_key="once") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [
        None, "true", "true",
    ]  # fmt: skip
    assert await api.balance() == (CREDITS - PRICE - REUSE_PRICE, 0, PRICE + REUSE_PRICE)


async def test_what_was_accepted_stays_so_when_it_is_sent_again(api: Api) -> None:
    """The first answer again, though a result is there by now."""
    first = await submitted(api, idempotency_key="once")
    [claimed] = await api.claim(types=["square"])
    await api.work(first.json()["id"], "complete", claimed["token"], result={"n": 9})
    again = await submitted(api, idempotency_key="once")
    assert (again.status_code, again.json()["status"]) == (202, "queued")


async def test_a_result_is_not_had_without_credits(api: Api) -> None:
    poor = new_id()
    await api.open_account(poor, funds=PRICE + REUSE_PRICE - 1)
    as_ = await api.key_of(poor)
    await worked(api, as_)
    answer = await submitted(api, as_)
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_credits")
    assert (answer.json()["required"], answer.json()["available"]) == (REUSE_PRICE, REUSE_PRICE - 1)
    assert await api.balance(poor) == (REUSE_PRICE - 1, 0, PRICE)


async def test_the_command_line_reuses_unless_told_otherwise(api: Api) -> None:
    first = await worked(api)
    assert f"reused from  {first}" in await told(api, "submit", "square", '{"n": 3}')
    anew = await told(api, "submit", "square", '{"n": 3}', "--no-cache")
    assert "reused from" not in anew
    assert "queued" in anew


async def told(api: Api, *words: str) -> str:
    """What the command line says of a task."""
    options = ["--url", api.url, "--api-key", api.secrets["user"]]
    done = await asyncio.to_thread(CliRunner().invoke, tallystick, ["task", *words, *options])
    assert done.exit_code == 0, done.output
    return done.output


async def test_the_type_says_what_it_reuses_at_what_price(api: Api) -> None:
    types = {item["name"]: item for item in (await api.get("/v1/task-types")).json()["items"]}
    said = {name: (t["cache_seconds"], t["cache_price_credits"]) for name, t in types.items()}
    assert said["double"] == (None, None)
    assert said["square"] == (600, REUSE_PRICE)
    assert said["media_extraction"] == (3_600, types["media_extraction"]["price_credits"])


async def test_the_client_reuses_unless_told_otherwise(api: Api) -> None:
    first = await worked(api)
    async with AsyncClient(api.url, api.secrets["user"]) as client:
        reused = await client.submit("square", {"n": 3})
        assert (reused.status, reused.reused_from, reused.result) == ("completed", first, {"n": 9})
        anew = await client.submit("square", {"n": 3}, cache=False)
        assert (anew.status, anew.reused_from) == ("queued", None)
        types = {kind.name: kind async for kind in client.task_types()}
        kind = types["square"]
        assert (kind.cache_seconds, kind.cache_price_credits) == (600, REUSE_PRICE)
