"""Tasks pushed to an endpoint: finished by its answer or by the worker verbs, fenced, retried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from jsonschema import Draft202012Validator

from adapters.signing_secret import SECRET_PREFIX, secret_text
from service.hooks import Notice
from service.http.openapi import openapi_document
from service.identifiers import parse_id
from service.push import ANSWER_BYTES_MAX, secret_name
from service.tick import tick
from tallystick.handler import Handler
from tallystick.push import DeliveryRefused, verify
from tallystick.push_type import push_type
from tests.integration.http.api import CREDITS, Api, Numbers, running_api
from tests.integration.media_server import Answer, always, hangs_up, stalls_before_answer
from tests.integration.push_receiver import Receiver, answers, receiving

PRICE = 7
LEASE_SECONDS = 1.0
ATTEMPT_SECONDS = 60
ACCEPT = answers("202 Accepted")


class Picture(msgspec.Struct, frozen=True):
    n: int
    title: str = ""
    words: tuple[str, ...] = ()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as server:
        yield server


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


@pytest.fixture
async def api(database: str, tmp_path: Path, receiver: Receiver) -> AsyncIterator[Api]:
    async with api_of(database, tmp_path, receiver) as running:
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


async def test_a_result_in_the_answer_completes_and_charges(api: Api, receiver: Receiver) -> None:
    receiver.script.append(answers("200 OK", {"result": {"n": 8, "title": "a", "more": 1}}))
    task_id = await submit(api)

    await push(api)

    task = await read(api, task_id)
    assert (task["status"], task["result"]) == ("completed", {"n": 8, "title": "a", "words": []})
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)
    sent = await receiver.next(api.service)
    assert (sent.id, sent.type, sent.account_id) == (task_id, "draw", api.account_id)
    assert sent.input_as(Numbers) == Numbers(n=4)
    assert (sent.token, sent.run, sent.attempt) == (1, 1, 1)
    assert sent.attempt_seconds_max == ATTEMPT_SECONDS
    assert sent.path == f"/v1/worker/tasks/{task_id}"
    assert receiver.lines == ["POST /run HTTP/1.1"]
    assert receiver.headers[0]["webhook-id"] == f"{task_id}_1"
    documented = openapi_document()
    schema = documented["webhooks"]["task.run"]["post"]["requestBody"]["content"]
    Draft202012Validator(
        {**schema["application/json"]["schema"], "components": documented["components"]}
    ).validate(receiver.body())


async def test_the_endpoint_joins_the_trace_of_the_request(api: Api, receiver: Receiver) -> None:
    receiver.script.append(ACCEPT)
    trace, span = "ab" * 16, "cd" * 8
    body = {"type": "draw", "input": {"n": 1}}
    await api.post("/v1/tasks", body, traceparent=f"00-{trace}-{span}-01")

    await push(api)

    version, joined, own, _ = receiver.headers[0]["traceparent"].split("-")
    assert (version, joined) == ("00", trace)
    assert own != span


async def test_over_a_rotation_both_secrets_sign_and_then_only_the_new_one(
    api: Api, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets, name = api.service.signing_secrets, secret_name("draw")
    old = (await secrets.get(name)).current
    assert (await secrets.get(name)).all == (old,), "made once"
    made = await asyncio.gather(*(secrets.get("push:other") for _ in range(8)))
    assert len({one.current for one in made}) == 1, "by whoever comes first"

    rotated = await secrets.rotate(name, 600)
    receiver.script += [answers("500 Internal Server Error")] * 2
    await submit(api)
    await push(api)

    assert rotated.all == (rotated.current, old)
    assert await secrets.get(name) == rotated
    for secret in rotated.all:
        verify(receiver.headers[0], receiver.bodies[0], secret_text(secret))

    last = await secrets.rotate(name, 0)
    await submit(api)
    await push(api)
    verify(receiver.headers[1], receiver.bodies[1], secret_text(last.current))
    for ended_secret in rotated.all:
        with pytest.raises(DeliveryRefused):
            verify(receiver.headers[1], receiver.bodies[1], secret_text(ended_secret))
    logged = capsys.readouterr().out
    assert "task.attempted" in logged
    for secret in (*rotated.all, last.current):
        assert secret_text(secret).removeprefix(SECRET_PREFIX) not in logged
        assert secret_text(secret) not in repr(last) + str(rotated)


async def test_a_result_is_cleaned_as_a_handlers_is(api: Api, receiver: Receiver) -> None:
    body = b'{"result": {"n": 8, "title": "a\\u0000b\\ud800c\xff", "huge": 1e999}}'
    receiver.script.append(always("200 OK", body))
    task_id = await submit(api)

    await push(api)

    assert (await read(api, task_id))["result"] == {"n": 8, "title": "abc", "words": []}


@pytest.mark.parametrize(
    "answer",
    [
        answers("200 OK"),
        answers("200 OK", {}),
        answers("200 OK", {"taken": True}),
        ACCEPT,
        answers("202 Accepted", {"result": {"n": 1}}),
        always("204 No Content"),
    ],
)
async def test_without_a_result_it_is_accepted_and_ended_by_the_verbs(
    answer: Answer, api: Api, receiver: Receiver
) -> None:
    receiver.script.append(answer)
    task_id = await submit(api)
    await push(api)
    sent = await receiver.next(api.service)
    assert (await read(api, task_id))["status"] == "running"
    assert ATTEMPT_SECONDS - 20 < lease_seconds(api, task_id) <= ATTEMPT_SECONDS

    progress = await api.work(task_id, "progress", sent.token, progress={"percent": 50})
    assert progress.json()["state"] == "held"
    assert lease_seconds(api, task_id) > LEASE_SECONDS + 10, "a sign of life takes nothing away"
    done = await api.work(task_id, "complete", sent.token, result={"n": 9})

    assert (done.status_code, done.json()["result"]) == (200, {"n": 9, "title": "", "words": []})
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


async def test_an_endpoint_that_never_ends_it_stalls_and_its_token_is_refused(
    api: Api, receiver: Receiver
) -> None:
    receiver.script += [ACCEPT, answers("200 OK", {"result": {"n": 2}})]
    task_id = await submit(api)
    await push(api)
    first = await receiver.next(api.service)

    lapse(api, task_id)
    task = await push_until(api, task_id, ended)

    second = await receiver.next(api.service)
    assert (first.token, second.token) == (1, 2)
    assert [h["webhook-id"] for h in receiver.headers] == [f"{task_id}_1", f"{task_id}_2"]
    assert (task["status"], task["result"]["n"]) == ("completed", 2)
    assert "task.stalled" in await history(api, task_id)
    late = await api.work(task_id, "complete", first.token, result={"n": 1})
    assert (late.status_code, late.json()["code"]) == (409, "lease_lost")
    assert (await read(api, task_id))["result"]["n"] == 2
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


async def test_the_first_endpoint_is_refused_while_the_second_has_the_task(
    api: Api, receiver: Receiver
) -> None:
    receiver.script += [ACCEPT, ACCEPT]
    task_id = await submit(api)
    await push(api)
    lapse(api, task_id)
    await push_until(api, task_id, lambda _: len(receiver.bodies) == 2)

    sent: dict[str, dict[str, Any]] = {
        "complete": {"result": {"n": 1}},
        "fail": {"failure": {"type": "internal"}},
        "release": {},
        "heartbeat": {},
    }
    for verb, more in sent.items():
        refused = await api.work(task_id, verb, 1, **more)
        assert (verb, refused.status_code, refused.json()["code"]) == (verb, 409, "lease_lost")
    done = await api.work(task_id, "complete", 2, result={"n": 2})
    assert done.json()["result"]["n"] == 2


async def test_leases_that_keep_lapsing_end_it_as_stalled_and_refund(
    api: Api, receiver: Receiver
) -> None:
    receiver.script += [ACCEPT] * 4
    task_id = await submit(api)
    for delivery in range(1, 5):
        await push_until(api, task_id, lambda _, n=delivery: len(receiver.bodies) == n)  # type: ignore[misc]
        lapse(api, task_id)
    task = await push_until(api, task_id, ended)
    assert (task["status"], task["failure"]["type"]) == ("failed", "stalled")
    assert await api.balance() == (CREDITS, 0, 0)


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        (answers("500 Internal Server Error", {"error": "x"}), "model_error"),
        (answers("502 Bad Gateway"), "network"),
        (answers("408 Request Timeout"), "timeout"),
        (answers("425 Too Early"), "network"),
        (hangs_up, "network"),
    ],
)
async def test_what_may_pass_is_sent_again_under_a_new_token(
    answer: Answer, type_: str, api: Api, receiver: Receiver
) -> None:
    receiver.script += [answer, answers("200 OK", {"result": {"n": 2}})]
    task_id = await submit(api)

    await push(api)
    assert (await read(api, task_id))["failure"]["type"] == type_
    task = await push_until(api, task_id, ended)

    assert task["status"] == "completed"
    assert [receiver.body(n)["data"]["token"] for n in (0, 1)] == [1, 2]
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_is_obeyed(status: str, api: Api, receiver: Receiver) -> None:
    receiver.script.append(answers(status, retry_after=90))
    task_id = await submit(api)

    await push(api)

    task = await read(api, task_id)
    assert task["status"] == "backoff"
    retry_at = msgspec.convert(task["not_before"], type=datetime)
    left = (retry_at - api.service.clock.now()).total_seconds()
    assert 60 < left <= 90


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        (answers("400 Bad Request"), "param_error"),
        (answers("404 Not Found"), "param_error"),
        (answers("401 Unauthorized"), "internal"),
        (answers("410 Gone"), "param_error"),
        (answers("302 Found", location="/elsewhere"), "internal"),
        (answers("308 Permanent Redirect", location="/elsewhere"), "internal"),
        (always("304 Not Modified"), "internal"),
        (answers("200 OK", {"result": {"n": "many"}}), "internal"),
        (answers("200 OK", {"result": {"title": "no n"}}), "internal"),
        (answers("200 OK", {"result": [1]}), "internal"),
        (answers("200 OK", {"result": None}), "internal"),
        (answers("200 OK", [{"result": {"n": 1}}]), "internal"),
        (always("200 OK", b'{"result": {"n": 1}'), "internal"),
        (always("200 OK", b"OK"), "internal"),
        (always("200 OK", b"[" * 100_000), "internal"),
        (always("200 OK", b"\xff\xfe"), "internal"),
        (always("200 OK", b'{"result": {"n": 1}}' + b" " * ANSWER_BYTES_MAX), "internal"),
        (answers("200 OK", {"result": {"n": 1, "words": ["x" * 9_000] * 90}}), "internal"),
    ],
)
async def test_what_will_not_pass_fails_at_once_and_refunds(
    answer: Answer, type_: str, api: Api, receiver: Receiver
) -> None:
    receiver.script.append(answer)
    task_id = await submit(api)

    await push(api)

    task = await read(api, task_id)
    assert (task["status"], task["failure"]["type"]) == ("failed", type_)
    assert len(receiver.lines) == 1, "no redirect is followed, nothing is sent twice"
    assert receiver.url("") not in str(task["failure"])
    assert await api.balance() == (CREDITS, 0, 0)


async def test_an_endpoint_that_hangs_is_given_up_as_timeout(
    database: str, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.script.append(stalls_before_answer)
    more = {"delivery_seconds_max": 1, "attempts_max": 1}
    async with api_of(database, tmp_path, receiver, **more) as api:
        task_id = await submit(api)
        await push(api)
        task = await read(api, task_id)
    assert (task["status"], task["failure"]["type"]) == ("failed", "timeout")


async def test_without_leave_loopback_is_refused_unsent(
    database: str, tmp_path: Path, receiver: Receiver
) -> None:
    handlers = [pushed(receiver)]
    async with running_api(database, tmp_path, handlers) as api:
        task_id = await submit(api)
        await push(api)
        task = await read(api, task_id)
    assert (task["status"], task["failure"]["type"]) == ("failed", "internal")
    assert receiver.lines == []


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
