"""Tasks pushed to an endpoint: finished by its answer or by the worker verbs, and fenced."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from adapters.signing_secret import SECRET_PREFIX, secret_text
from service.http.openapi import openapi_document
from service.push import secret_name
from tallystick.push import DeliveryRefused, verify
from tests.integration.http.api import CREDITS, Api, Numbers
from tests.integration.http.push.pushed_tasks import (
    ACCEPT,
    ATTEMPT_SECONDS,
    LEASE_SECONDS,
    PRICE,
    ended,
    history,
    lapse,
    lease_seconds,
    push,
    push_until,
    read,
    submit,
)
from tests.integration.media_server import Answer, always, hangs_up
from tests.integration.push_receiver import Receiver, answers


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
    receiver.script += [answers("400 Bad Request")] * 2
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
