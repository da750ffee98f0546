"""The clients against a service that answers badly: what is repeated, and what is raised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from tallystick import AsyncClient, Client
from tallystick.errors import (
    ApiError,
    Conflict,
    Forbidden,
    InsufficientCredits,
    InvalidRequest,
    LimitReached,
    NotFound,
    Unauthorized,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from tallystick.exchange import RetryPolicy
from tests.integration.scripted_service import DROP, Answer, ScriptedService, scripted_service

T = TypeVar("T")
QUICK = RetryPolicy(pause_seconds=0.001, pause_seconds_max=0.002)
TASK_ID = "task_0192f00000007000800000000000abcd"


def task(status: str = "queued", **fields: object) -> dict[str, object]:
    return {
        "id": TASK_ID,
        "type": "media_extraction",
        "status": status,
        "version": 1,
        "created_at": "2030-01-01T00:00:00Z",
        **fields,
    }


def problem(status: int, code: str, **members: object) -> Answer:
    retry_after = members.pop("retry_after", None)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = {"status": status, "code": code, "title": "No", "detail": f"Not so: {code}.", **members}
    return Answer(status, body, {"Content-Type": "application/problem+json", **headers})


async def _collected(values: AsyncIterator[T]) -> list[T]:
    return [value async for value in values]


def sync_call(service: ScriptedService, verb: str, *values: object, **named: Any) -> Any:
    retries = named.pop("retries", QUICK)
    with Client(service.url, "tsk_secret", retries=retries) as client:
        answer = getattr(client, verb)(*values, **named)
        return list(answer) if verb in ITERATED else answer


def async_call(service: ScriptedService, verb: str, *values: object, **named: Any) -> Any:
    retries = named.pop("retries", QUICK)

    async def run() -> Any:
        async with AsyncClient(service.url, "tsk_secret", retries=retries) as client:
            answer = getattr(client, verb)(*values, **named)
            return await (_collected(answer) if verb in ITERATED else answer)

    return asyncio.run(run())


ITERATED = {"list", "history", "statement", "task_types", "watch"}
Call = Callable[..., Any]
pytestmark = pytest.mark.parametrize("call", [sync_call, async_call], ids=["sync", "async"])


def keys_of(service: ScriptedService) -> list[str | None]:
    return [asked.headers.get("Idempotency-Key") for asked in service.asked]


@pytest.mark.parametrize(
    "trouble",
    [
        DROP,
        problem(503, "unavailable"),
        problem(502, "bad_gateway"),
        problem(429, "limit_reached", retry_after=0),
        problem(409, "idempotency_key_in_flight", retry_after=0),
    ],
    ids=["dropped", "503", "502", "429", "in-flight"],
)
def test_a_submission_is_sent_again_with_its_key_until_it_is_answered(
    call: Call, trouble: Answer
) -> None:
    with scripted_service(trouble, trouble, Answer(202, task())) as service:
        assert call(service, "submit", "media_extraction", {"url": "x"}).id == TASK_ID
    keys = keys_of(service)
    assert len(keys) == 3
    assert keys[0] is not None
    assert len(set(keys)) == 1
    assert {asked.body for asked in service.asked} == {service.asked[0].body}


def test_a_limit_that_time_does_not_lift_is_raised_at_once(call: Call) -> None:
    with scripted_service(problem(429, "limit_reached")) as service:
        with pytest.raises(LimitReached) as raised:
            call(service, "submit", "x", {})
        assert raised.value.retry_after is None
        assert len(service.asked) == 1


def test_two_submissions_have_two_keys(call: Call) -> None:
    with scripted_service(Answer(202, task())) as service:
        call(service, "submit", "x", {})
        call(service, "submit", "x", {})
    assert len(set(keys_of(service))) == 2


def test_a_key_of_the_callers_own_is_sent_as_it_is(call: Call) -> None:
    with scripted_service(Answer(202, task())) as service:
        call(service, "submit", "x", {}, idempotency_key="order-7")
    assert keys_of(service) == ['"order-7"']


def test_trouble_that_lasts_is_raised_after_the_last_retry(call: Call) -> None:
    with (
        scripted_service(problem(503, "unavailable")) as service,
        pytest.raises(Unavailable) as raised,
    ):
        call(service, "get", TASK_ID)
    assert raised.value.code == "unavailable"
    assert len(service.asked) == 1 + QUICK.retries_max


def test_a_service_that_is_not_there_is_unreachable(call: Call) -> None:
    with scripted_service(DROP) as service:
        pass
    with pytest.raises(Unreachable, match="does not answer"):
        call(service, "get", TASK_ID)


def test_a_retry_after_that_is_too_long_is_raised_and_told(call: Call) -> None:
    with (
        scripted_service(problem(429, "limit_reached", retry_after=3600)) as service,
        pytest.raises(LimitReached) as raised,
    ):
        call(service, "submit", "x", {})
    assert raised.value.retry_after == 3600
    assert len(service.asked) == 1


def test_retry_after_is_obeyed(call: Call) -> None:
    began = time.monotonic()
    with scripted_service(
        problem(503, "overloaded", retry_after=1), Answer(200, task())
    ) as service:
        call(service, "get", TASK_ID)
    assert time.monotonic() - began >= 1
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(400, "invalid_input"), InvalidRequest),
        (problem(401, "unauthenticated"), Unauthorized),
        (problem(402, "insufficient_credits", required=5, available=2), InsufficientCredits),
        (problem(403, "forbidden"), Forbidden),
        (problem(404, "not_found"), NotFound),
        (problem(409, "illegal_transition", state="completed", allowed=["x"]), Conflict),
        (problem(412, "version_mismatch"), Conflict),
        (problem(413, "body_too_large"), InvalidRequest),
        (problem(422, "idempotency_key_reused"), InvalidRequest),
        (problem(500, "internal"), ApiError),
    ],
)
def test_a_refusal_is_raised_at_once_as_its_type(
    call: Call, answer: Answer, kind: type[ApiError]
) -> None:
    with scripted_service(answer) as service, pytest.raises(ApiError) as raised:
        call(service, "cancel", TASK_ID)
    assert type(raised.value) is kind
    assert raised.value.status == answer.status
    assert raised.value.detail == f"Not so: {raised.value.code}."
    assert len(service.asked) == 1


def test_a_refusal_carries_its_members(call: Call) -> None:
    fields = [{"pointer": "/input/url", "detail": "must be a string"}]
    with (
        scripted_service(problem(400, "invalid_input", errors=fields, trace_id="t1")) as service,
        pytest.raises(InvalidRequest, match="/input/url: must be a string") as raised,
    ):
        call(service, "submit", "x", {})
    assert raised.value.trace_id == "t1"
    elsewhere = [{"parameter": "limit", "detail": "a"}, {"header": "If-Match", "detail": "b"}]
    elsewhere += [{"pointer": "", "detail": "the whole"}]
    with (
        scripted_service(problem(400, "invalid_input", errors=elsewhere)) as service,
        pytest.raises(InvalidRequest) as unnamed,
    ):
        call(service, "submit", "x", {})
    assert str(unnamed.value).endswith(" (limit: a; If-Match: b; the whole)")
    with (
        scripted_service(problem(402, "insufficient_credits", required=5, available=2)) as service,
        pytest.raises(InsufficientCredits) as poor,
    ):
        call(service, "submit", "x", {})
    assert (poor.value.required, poor.value.available) == (5, 2)
    refusal = problem(409, "illegal_transition", state="queued", allowed=["cancel"])
    with scripted_service(refusal) as service, pytest.raises(Conflict) as conflict:
        call(service, "retry", TASK_ID)
    assert (conflict.value.state, conflict.value.allowed) == ("queued", ("cancel",))


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[]", b'{"errors": 3}', b"null"])
def test_an_error_with_any_body_is_still_typed(call: Call, body: bytes) -> None:
    with scripted_service(Answer(404, body)) as service, pytest.raises(NotFound) as raised:
        call(service, "get", TASK_ID)
    assert raised.value.status == 404
    assert str(raised.value)


@pytest.mark.parametrize("answer", [Answer(200, b"<html>"), Answer(302, b""), Answer(200, [1])])
def test_an_answer_of_something_else_is_told_and_not_asked_for_again(
    call: Call, answer: Answer
) -> None:
    with (
        scripted_service(answer) as service,
        pytest.raises(Unreachable, match="is the address right"),
    ):
        call(service, "account")
    assert len(service.asked) == 1


def test_members_that_are_not_known_are_ignored(call: Call) -> None:
    with scripted_service(Answer(200, task(shiny="new", progress={"percent": 7, "x": 1}))) as s:
        assert call(s, "get", TASK_ID).progress.percent == 7


def test_waiting_asks_the_service_to_hold_its_answer_back(call: Call) -> None:
    ended = Answer(200, task("completed", result={"a": 1}))
    with scripted_service(Answer(200, task("running")), ended) as service:
        done = call(service, "wait", TASK_ID, timeout_seconds=20)
    assert done.result == {"a": 1}
    assert service.asked[0].headers["Prefer"] in {"wait=19", "wait=20"}


def test_waiting_that_is_over_gives_the_last_state(call: Call) -> None:
    began = time.monotonic()
    with (
        scripted_service(Answer(200, task("running", version=4))) as service,
        pytest.raises(WaitTimeout) as raised,
    ):
        call(service, "wait", TASK_ID, timeout_seconds=0.2)
    assert 0.2 <= time.monotonic() - began < 5
    assert raised.value.task.version == 4
    assert TASK_ID in str(raised.value)


def test_waiting_goes_on_through_trouble_once_the_task_is_known(call: Call) -> None:
    answers = (Answer(200, task("running")), *[DROP] * 8, Answer(200, task("completed")))
    with scripted_service(*answers) as service:
        retries = RetryPolicy(retries_max=1, pause_seconds=0.001)
        done = call(service, "wait", TASK_ID, timeout_seconds=60, retries=retries)
    assert done.status == "completed"


def test_waiting_through_trouble_ends_in_time_with_the_last_state(call: Call) -> None:
    with (
        scripted_service(Answer(200, task("running", version=9)), DROP) as service,
        pytest.raises(WaitTimeout) as raised,
    ):
        call(service, "wait", TASK_ID, timeout_seconds=1)
    assert raised.value.task.version == 9


def test_waiting_for_a_task_that_is_not_there_raises_at_once(call: Call) -> None:
    with scripted_service(problem(404, "not_found")) as service, pytest.raises(NotFound):
        call(service, "wait", TASK_ID, timeout_seconds=60)
    assert len(service.asked) == 1


def test_watching_shows_each_change_once(call: Call) -> None:
    seen = [task("queued"), task("running"), task("running"), task("completed")]
    with scripted_service(*[Answer(200, body) for body in seen]) as service:
        states = call(service, "watch", TASK_ID, timeout_seconds=60, poll_seconds=0.001)
    assert [state.status for state in states] == ["queued", "running", "completed"]


def test_a_list_is_read_to_its_last_page(call: Call) -> None:
    first = {"items": [task(version=1), task(version=2)], "next_cursor": "c1", "has_more": True}
    last = {"items": [task(version=3)], "next_cursor": None, "has_more": False}
    with scripted_service(Answer(200, first), Answer(200, last)) as service:
        found = call(service, "list", status=["queued", "running"], project="a&b")
    assert [one.version for one in found] == [1, 2, 3]
    assert "status=queued&status=running" in service.asked[0].path
    assert "project=a%26b" in service.asked[1].path
    assert "cursor=c1" in service.asked[1].path


@pytest.mark.parametrize(
    "task_id", ["", "..", "task_1/cancel", "task_1?x=1", "a b", "ä", "x" * 101]
)
def test_what_cannot_be_an_id_is_never_sent(call: Call, task_id: str) -> None:
    with scripted_service(Answer(200, task())) as service:
        for verb in ("get", "cancel", "retry", "history"):
            with pytest.raises(ValueError, match="no task id"):
                call(service, verb, task_id)
    assert service.asked == []


@pytest.mark.parametrize("key", ["", "a b", 'a"b', "ä", "x" * 256, "a\n"])
def test_a_key_that_no_header_can_carry_is_never_sent(call: Call, key: str) -> None:
    with (
        scripted_service(Answer(200, task())) as service,
        pytest.raises(ValueError, match="idempotency key"),
    ):
        call(service, "submit", "x", {}, idempotency_key=key)
    assert service.asked == []


def test_a_time_without_its_zone_is_refused(call: Call) -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - the point
    with scripted_service(Answer(202, task())) as service:
        with pytest.raises(ValueError, match="time zone"):
            call(service, "submit", "x", {}, not_before=naive)
        call(service, "submit", "x", {}, not_before=naive.replace(tzinfo=UTC))
    assert b'"not_before":"2030-01-01T00:00:00Z"' in service.asked[0].body


def test_every_call_carries_the_api_key(call: Call) -> None:
    with scripted_service(Answer(202, task())) as service:
        call(service, "submit", "x", {})
        call(service, "get", TASK_ID)
    assert {a.headers["Authorization"] for a in service.asked} == {"Bearer tsk_secret"}


@pytest.mark.parametrize("url", ["", "localhost:8420", "ftp://x", "http://", "http://[::1", "x y"])
def test_a_malformed_address_is_refused_at_once(call: Call, url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|address"):
        call(ScriptedService(url, []), "account")


def test_the_environments_proxy_is_not_used_for_this_machine(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with scripted_service(Answer(200, task())) as service:
        assert call(service, "get", TASK_ID).id == TASK_ID
