"""Push as an operator meets it: its secret on the command line, its worker killed in the middle."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tallystick.models import Task
from tallystick.push import verify
from tests.e2e.pushed_tasks import ENDPOINT_VARIABLE
from tests.e2e.tallystick_process import HANDLERS, Home, Running
from tests.integration.media_server import stalls_before_answer
from tests.integration.push_receiver import answers, receiving

OK, USAGE = 0, 2
PUSHED = {"TALLYSTICK_HANDLERS": f"{HANDLERS},tests.e2e.pushed_tasks:HANDLERS"}


def test_the_secret_is_made_once_shown_and_rotated(tmp_path: Path, database: str) -> None:
    home = Home(tmp_path, database, PUSHED)
    first = home.run("types", "secret", "pushed", "--json")
    assert first.status == OK, first.err
    assert first.json["secret"].startswith("whsec_")
    assert first.json["previous_secret"] is None
    assert home.run("types", "secret", "pushed", "--json").json == first.json

    rotated = home.run("types", "secret", "pushed", "--rotate", "--overlap", "60", "--json").json
    assert rotated["previous_secret"] == first.json["secret"] != rotated["secret"]
    assert rotated["previous_until"]
    shown = home.run("types", "secret", "pushed")
    assert rotated["secret"] in shown.out
    ended = home.run("types", "secret", "pushed", "--rotate", "--overlap", "0", "--json").json
    assert ended["previous_secret"] is None


@pytest.mark.parametrize("name", ["always_fails", "no_such_type"])
def test_what_is_not_pushed_has_no_secret(name: str, tmp_path: Path, database: str) -> None:
    refused = Home(tmp_path, database, PUSHED).run("types", "secret", name)
    assert (refused.status, refused.out) == (USAGE, "")


@pytest.mark.fault
async def test_a_worker_killed_after_the_delivery_leaves_it_to_the_next(
    tmp_path: Path, database: str
) -> None:
    """The endpoint has the task, nobody recorded it: sent again, and the first is refused."""
    async with receiving() as receiver:
        receiver.script += [stalls_before_answer, answers("200 OK", {"result": {"n": 2}})]
        settings = {
            **PUSHED,
            ENDPOINT_VARIABLE: receiver.endpoint,
            "TALLYSTICK_ALLOW_LOOPBACK_URLS": "true",
        }
        home = Home(tmp_path, database, settings)
        secret = (await _run(home, "types", "secret", "pushed", "--json"))["secret"]
        key = (await _run(home, "keys", "create", "--scope", "worker", "--json"))["secret"]
        with home.started("dev") as doomed:
            await _ready(doomed)
            task = await _run(home, "task", "submit", "pushed", '{"n": 1}', "--json")
            async with asyncio.timeout(60):
                await receiver.arrived.get()
            await asyncio.to_thread(doomed.end, signal.SIGKILL)
        first = verify(receiver.headers[0], receiver.bodies[0], secret)
        with home.started("dev") as running:
            await _ready(running)
            ended = await asyncio.to_thread(_wait, home, task["id"])
            late = await _complete(home, first.path, first.token, key)
        second = verify(receiver.headers[1], receiver.bodies[1], secret)
    assert (ended.status, ended.result) == ("completed", {"n": 2})
    assert (first.id, first.token, second.token) == (task["id"], 1, 2)
    assert (late.status_code, late.json()["code"]) == (409, "lease_lost")
    assert (ended.credits.held, ended.credits.charged, ended.credits.released) == (0, 2, 0)


async def _run(home: Home, *arguments: str) -> dict[str, Any]:
    done = await asyncio.to_thread(home.run, *arguments)
    assert done.status == OK, done.err
    document: dict[str, Any] = done.json
    return document


def _wait(home: Home, task_id: str) -> Task:
    with home.client() as client:
        return client.wait(task_id, timeout_seconds=60)


async def _ready(running: Running) -> None:
    await asyncio.to_thread(running.wait_for, "Tallystick is ready at ")


async def _complete(home: Home, path: str, token: int, key: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=home.profile["url"], trust_env=False) as client:
        return await client.post(
            f"{path}/complete",
            json={"token": token, "result": {"n": 1}},
            headers={"authorization": f"Bearer {key}"},
        )
