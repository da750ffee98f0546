"""`Prefer: wait`: the answer comes with the task's end, or with the time, or with the stop."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from adapters.wakeup import Watch
from service.http.waiters import Waiters
from service.identifiers import parse_id
from tests.integration.http.api import Api

BODY = {"type": "double", "input": {"n": 1}}
LONG = "wait=30"


async def _end(api: Api, *, verb: str = "complete", **more: Any) -> None:
    """Claim the one task, once somebody waits for it, and end it."""
    async with asyncio.timeout(10):
        while not (claimed := await api.claim()):
            await api.service.wakeup.watch().wait(0.05)
    await api.work(claimed[0]["id"], verb, claimed[0]["token"], **(more or {"result": {"n": 2}}))


async def test_a_submission_that_waits_is_answered_with_the_ended_task(api: Api) -> None:
    answer, _ = await asyncio.gather(api.post("/v1/tasks", BODY, prefer=LONG), _end(api))

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["result"]) == ("completed", {"n": 2})
    assert answer.headers["preference-applied"] == LONG
    assert answer.headers["vary"] == "Prefer"
    assert answer.headers["location"] == f"/v1/tasks/{answer.json()['id']}"


async def test_a_submission_whose_task_takes_longer_is_accepted(api: Api) -> None:
    answer = await api.post("/v1/tasks", BODY, prefer="respond-async, wait=1")

    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=1"
    assert int(answer.headers["retry-after"]) >= 1


async def test_all_who_read_and_wait_are_answered_by_one_end(api: Api) -> None:
    task = await api.submit()
    reads = [api.get(f"/v1/tasks/{task['id']}", prefer=LONG) for _ in range(20)]

    failing = _end(api, verb="fail", failure={"type": "param_error"})
    *answers, _ = await asyncio.gather(*reads, failing)

    for answer in answers:
        assert isinstance(answer, httpx.Response)
        assert (answer.status_code, answer.json()["status"]) == (200, "failed")
        assert answer.headers["preference-applied"] == LONG


async def test_reading_an_ended_task_waits_for_nothing(api: Api) -> None:
    task = await api.submit()
    await api.post(f"/v1/tasks/{task['id']}/cancel")

    async with asyncio.timeout(10):
        answer = await api.get(f"/v1/tasks/{task['id']}", prefer="wait=60")

    assert answer.json()["status"] == "cancelled"
    assert "retry-after" not in answer.headers


async def test_a_wait_is_cut_to_what_is_allowed(api: Api) -> None:
    task = await api.submit()
    await api.post(f"/v1/tasks/{task['id']}/cancel")

    answer = await api.get(f"/v1/tasks/{task['id']}", prefer="wait=600")

    assert answer.headers["preference-applied"] == "wait=60"


async def test_what_is_no_preference_is_none(api: Api) -> None:
    task = await api.submit()

    for prefer in ("wait=soon", "wait", "wait=-1", "await=9", "return=minimal", "wait=0", ""):
        async with asyncio.timeout(10):
            answer = await api.get(f"/v1/tasks/{task['id']}", prefer=prefer)
        assert answer.status_code == 200
        assert "preference-applied" not in answer.headers, prefer


async def test_a_replay_that_waits_is_answered_with_the_task_as_it_became(api: Api) -> None:
    first = await api.post("/v1/tasks", BODY, idempotency_key="k")
    await _end(api)

    async with asyncio.timeout(10):
        again = await api.post("/v1/tasks", BODY, idempotency_key="k", prefer=LONG)

    assert (again.status_code, again.json()["status"]) == (200, "completed")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]


async def test_a_stop_answers_those_who_wait_with_what_there_is(api: Api) -> None:
    task = await api.submit()
    waiting = [
        asyncio.create_task(api.get(f"/v1/tasks/{task['id']}", prefer="wait=60")),
        asyncio.create_task(api.post("/v1/tasks", BODY, prefer="wait=60")),
    ]
    await _someone_waits(api, 2)

    api.stop.set()

    async with asyncio.timeout(10):
        read, submitted = await asyncio.gather(*waiting)
    assert (read.status_code, read.json()["status"]) == (200, "queued")
    assert submitted.status_code == 202


async def test_who_hangs_up_waits_no_more(api: Api) -> None:
    task = await api.submit()
    waiting = asyncio.create_task(api.get(f"/v1/tasks/{task['id']}", prefer="wait=60"))
    await _someone_waits(api, 1)

    waiting.cancel()

    await _someone_waits(api, 0)


async def test_a_lost_wake_up_costs_a_poll_and_nothing_else(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any notification the end is found by looking, within 3 seconds."""
    monkeypatch.setattr(type(api.service.wakeup), "_wake", lambda *_: None)
    task = await api.submit()
    waiting = asyncio.create_task(api.get(f"/v1/tasks/{task['id']}", prefer="wait=60"))
    await _someone_waits(api, 1)

    await _end(api)

    async with asyncio.timeout(20):
        assert (await waiting).json()["status"] == "completed"


async def test_an_end_just_before_the_wait_is_not_missed(api: Api) -> None:
    """Nothing is heard of any more, and the next look by itself would be in a minute."""
    task = await api.submit()
    await api.post(f"/v1/tasks/{task['id']}/cancel")
    watch = Watch(None)
    waiters = Waiters(api.service.pool, watch, poll_seconds=60)
    looking = asyncio.create_task(waiters.run())
    forever = asyncio.get_running_loop().create_future

    async with asyncio.timeout(10):
        await waiters.wait(parse_id("task", task["id"]), 30, forever)

    assert waiters.count == 0
    looking.cancel()


async def _someone_waits(api: Api, count: int) -> None:
    async with asyncio.timeout(10):
        while f"tallystick_http_waiting {count}.0" not in (await api.get("/metrics", None)).text:
            pass
