"""Pushed tasks that are cancelled, or whose worker stops; and who drives and hears of them."""

from __future__ import annotations

import asyncio
from typing import Any

from service.hooks import Notice
from tests.integration.http.api import CREDITS, Api
from tests.integration.http.push.pushed_tasks import (
    ACCEPT,
    PRICE,
    ended,
    history,
    lapse,
    push,
    push_until,
    read,
    submit,
)
from tests.integration.media_server import stalls_before_answer
from tests.integration.push_receiver import Receiver, answers


async def test_a_cancelled_task_that_was_accepted_tells_its_endpoint(
    api: Api, receiver: Receiver
) -> None:
    receiver.script.append(ACCEPT)
    task_id = await submit(api)
    await push(api)
    sent = await receiver.next(api.service)

    await api.post(f"/v1/tasks/{task_id}/cancel")

    beat = await api.work(task_id, "heartbeat", sent.token)
    assert beat.json()["state"] == "cancelling"
    released = await api.work(task_id, "release", sent.token)
    assert released.json()["status"] == "cancelled"
    assert await api.balance() == (CREDITS, 0, 0)


async def test_a_cancelled_task_ends_with_its_lease_if_the_endpoint_is_silent(
    api: Api, receiver: Receiver
) -> None:
    receiver.script.append(ACCEPT)
    task_id = await submit(api)
    await push(api)
    await api.post(f"/v1/tasks/{task_id}/cancel")

    lapse(api, task_id)

    assert (await push_until(api, task_id, ended))["status"] == "cancelled"
    assert await api.balance() == (CREDITS, 0, 0)


async def test_cancelling_during_the_delivery_breaks_it_off(api: Api, receiver: Receiver) -> None:
    receiver.script.append(stalls_before_answer)
    task_id = await submit(api)
    working = asyncio.create_task(push(api))
    sent = await receiver.next(api.service)

    await api.post(f"/v1/tasks/{task_id}/cancel")
    await working

    assert (await read(api, task_id))["status"] == "cancelled"
    late = await api.work(task_id, "complete", sent.token, result={"n": 1})
    assert late.status_code == 409
    assert await api.balance() == (CREDITS, 0, 0)


async def test_a_worker_that_stops_hands_back_what_it_is_delivering(
    api: Api, receiver: Receiver
) -> None:
    receiver.script += [stalls_before_answer, answers("200 OK", {"result": {"n": 2}})]
    task_id = await submit(api)
    worker = api.service.worker(grace_seconds=0.0)
    working = asyncio.create_task(worker.run())
    first = await receiver.next(api.service)

    worker.stop()
    await working

    assert (await read(api, task_id))["status"] == "queued"
    await push(api)
    assert (await receiver.next(api.service)).token == first.token + 1
    assert (await read(api, task_id))["result"]["n"] == 2


async def test_a_worker_that_dies_after_the_delivery_leaves_it_to_the_lease(
    api: Api, receiver: Receiver
) -> None:
    """Killed between the delivery and its record: the endpoint works on, and is fenced."""
    receiver.script += [stalls_before_answer, answers("200 OK", {"result": {"n": 2}})]
    task_id = await submit(api)
    doomed = asyncio.create_task(api.service.worker().run())
    first = await receiver.next(api.service)
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    assert (await read(api, task_id))["status"] == "running"

    task = await push_until(api, task_id, ended)

    assert (task["status"], task["result"]["n"]) == ("completed", 2)
    assert "task.stalled" in await history(api, task_id)
    late = await api.work(task_id, "complete", first.token, result={"n": 1})
    assert late.json()["code"] == "lease_lost"
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


async def test_an_endpoint_may_end_it_before_it_answers(api: Api, receiver: Receiver) -> None:
    async def complete_first(writer: asyncio.StreamWriter, server: Any) -> None:
        data = receiver.body()["data"]
        done = await api.work(data["id"], "complete", data["token"], result={"n": 3})
        assert done.status_code == 200
        await ACCEPT(writer, server)

    receiver.script.append(complete_first)
    task_id = await submit(api)

    await push(api)

    task = await read(api, task_id)
    assert (task["status"], task["result"]["n"]) == ("completed", 3)
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


async def test_a_tick_drives_push_types_and_counts_what_was_accepted(
    api: Api, receiver: Receiver
) -> None:
    receiver.script += [ACCEPT, answers("200 OK", {"result": {"n": 2}})]
    for _ in range(2):
        await submit(api)

    report = await api.post("/v1/worker/tick", {"seconds": 10}, "worker")

    counts = report.json()
    assert (counts["started"], counts["accepted"], counts["completed"]) == (2, 1, 1)
    assert counts["handed_back"] == 0


async def test_hooks_hear_of_an_acceptance(api: Api, receiver: Receiver) -> None:
    told: list[str] = []

    async def note(notice: Notice) -> None:
        told.append(notice.moment)

    receiver.script.append(ACCEPT)
    await submit(api)
    await api.service.worker(hooks=[note]).run(until_idle=True)
    assert told == ["active", "accepted"]
