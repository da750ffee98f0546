"""Deliveries that fail: sent again where that may help, refunded where it cannot."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from service.push import ANSWER_BYTES_MAX
from tests.integration.http.api import CREDITS, Api, running_api
from tests.integration.http.push.pushed_tasks import api_of, push, pushed, read, submit
from tests.integration.media_server import Answer, always, stalls_before_answer
from tests.integration.push_receiver import Receiver, answers


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
