"""A task of every state says what it costs and what may be done next, by API and command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from domain.task import TASK
from service.cli.program import tallystick
from tallystick.client import Client
from tallystick.errors import Conflict
from tests.integration.http.api import FINAL, PRICE, Api

Task = dict[str, Any]
PASSING = {"type": "network", "retryable": True}


async def _queued(api: Api) -> Task:
    return await api.submit()


async def _delayed(api: Api) -> Task:
    start = api.service.clock.now() + timedelta(hours=1)
    return await api.submit(not_before=start)


async def _running(api: Api) -> Task:
    await api.submit()
    [claimed] = await api.claim()
    return claimed


async def _ended_by(api: Api, verb: str, **more: object) -> Task:
    task = await _running(api)
    answer = await api.work(task["id"], verb, task["token"], **more)
    assert answer.status_code == 200, answer.text
    return task


async def _backoff(api: Api) -> Task:
    return await _ended_by(api, "fail", failure=PASSING)


async def _failed(api: Api) -> Task:
    return await _ended_by(api, "fail", failure=FINAL)


async def _completed(api: Api) -> Task:
    return await _ended_by(api, "complete", result={"n": 2})


async def _cancelling(api: Api) -> Task:
    task = await _running(api)
    await api.post(f"/v1/tasks/{task['id']}/cancel")
    return task


async def _cancelled(api: Api) -> Task:
    task = await _queued(api)
    await api.post(f"/v1/tasks/{task['id']}/cancel")
    return task


AT_WORK = ["stage", "release", "complete", "fail"]
STATES: list[tuple[str, Callable[[Api], Awaitable[Task]], str, list[str], list[str]]] = [
    # state, how to get there, verdict, what its user may do, what operators may do besides
    ("queued", _queued, "held", ["cancel"], ["claim"]),
    ("queued", _delayed, "held", ["cancel"], ["claim"]),
    ("running", _running, "held", ["cancel"], AT_WORK),
    ("backoff", _backoff, "held", ["cancel"], ["claim"]),
    ("cancelling", _cancelling, "held", [], ["release", "complete", "fail"]),
    ("completed", _completed, "charged", [], []),
    ("failed", _failed, "released", ["retry"], []),
    ("cancelled", _cancelled, "released", [], []),
]


def test_every_state_is_gone_through() -> None:
    assert {state for state, *_ in STATES} == set(TASK.states)


@pytest.mark.parametrize(("state", "bring", "verdict", "users", "operators"), STATES)
async def test_a_task_says_what_it_costs_and_what_comes_next(
    api: Api,
    state: str,
    bring: Callable[[Api], Awaitable[Task]],
    verdict: str,
    users: list[str],
    operators: list[str],
) -> None:
    task_id = (await bring(api))["id"]

    mine = (await api.get(f"/v1/tasks/{task_id}")).json()
    [listed] = (await api.get("/v1/tasks")).json()["items"]
    theirs = (await api.get(f"/v1/tasks/{task_id}", "admin")).json()
    shown = await _command(api, "task", "show", task_id)

    assert (mine["status"], mine["next"], listed["next"]) == (state, users, users)
    assert sorted(theirs["next"]) == sorted(users + operators)
    assert (mine["money"]["verdict"], mine["money"]["credits"]) == (verdict, PRICE)
    assert listed["money"] == theirs["money"] == mine["money"]
    lines = dict(line.split(None, 1) for line in shown.splitlines())
    assert lines["status"] == state
    assert lines["money"] == mine["money"]["sentence"]
    assert lines.get("next", "").split(", ") == (users or [""])
    await _each_verb_does_as_it_says(api, task_id, users)


async def _each_verb_does_as_it_says(api: Api, task_id: str, users: list[str]) -> None:
    """What is offered is done; what is not is refused or quiet, with the verdict either way."""
    before = (await api.get(f"/v1/tasks/{task_id}")).json()
    for verb in ("cancel", "retry"):
        if verb in users:
            continue
        answer = await api.post(f"/v1/tasks/{task_id}/{verb}")
        told = answer.json()
        assert told["money"] == before["money"]
        if answer.status_code == 409:
            assert (told["code"], told["state"]) == ("illegal_transition", before["status"])
            assert told["detail"].endswith(before["money"]["sentence"])
            assert set(users) <= set(told["allowed"])
        else:
            assert (verb, told["version"]) == ("cancel", before["version"])
    for verb in users:
        answer = await api.post(f"/v1/tasks/{task_id}/{verb}")
        assert answer.status_code in {200, 202}
        assert answer.json()["version"] > before["version"]
        assert answer.json()["money"]["credits"] == PRICE


async def test_a_cancel_that_comes_too_late_is_told_by_client_and_command_line(api: Api) -> None:
    task_id = (await _completed(api))["id"]

    def cancel() -> Conflict:
        with Client(api.url, api.secrets["user"]) as client:
            with pytest.raises(Conflict) as refusal:
                client.cancel(task_id)
            return refusal.value

    refusal = await asyncio.to_thread(cancel)
    assert refusal.state == "completed"
    assert refusal.money is not None
    assert (refusal.money.verdict, refusal.money.credits) == ("charged", PRICE)
    said = await _command(api, "task", "cancel", task_id, status=3)
    assert "Cannot cancel a task that is completed. 5 credits are charged." in said


async def test_the_client_reads_what_the_api_says(api: Api) -> None:
    task_id = (await _failed(api))["id"]

    def get() -> Any:
        with Client(api.url, api.secrets["user"]) as client:
            return client.get(task_id)

    task = await asyncio.to_thread(get)
    mine = (await api.get(f"/v1/tasks/{task_id}")).json()
    assert msgspec.to_builtins(task.money) == mine["money"]
    assert list(task.next) == mine["next"] == ["retry"]


async def _command(api: Api, *arguments: str, status: int = 0) -> str:
    """What a command prints, of its exit status."""
    options = ("--url", api.url, "--api-key", api.secrets["user"])
    done = await asyncio.to_thread(CliRunner().invoke, tallystick, [*arguments, *options])
    assert done.exit_code == status, done.output
    return done.output
