"""Errors: every one is a problem, in the documented order, and tells no insides."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from adapters import log as log_module
from adapters.committer import OutcomeUnknown
from domain.errors import CommandRejected, Overloaded, ShuttingDown, TallystickError, Unavailable
from service.http.tasks import submit_task
from service.identifiers import parse_id
from service.problems import PROBLEMS
from tests.integration.http.api import JSON, Api

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BODY = {"type": "double", "input": {"n": 1}}


async def test_paths_and_methods_that_are_not_there(api: Api) -> None:
    for path in ("/", "/v1", "/v1/tasks/x/y/z", "/v1/accounts/x/sell"):
        assert (await api.get(path, None)).json()["code"] == "not_found"
    for method, path, allow in (
        ("DELETE", "/v1/tasks", "GET, OPTIONS, POST"),
        ("PUT", "/v1/tasks/task_1", "GET, OPTIONS"),
        ("HEAD", "/v1/tasks", "GET, OPTIONS, POST"),
        ("GET", "/v1/tasks/task_1/cancel", "OPTIONS, POST"),
    ):
        answer = await api.client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_a_request_is_refused_for_the_first_reason_of_the_documented_order(api: Api) -> None:
    """One request with everything wrong, mended step by step."""
    large = b"[" * 50 + b"x" * api.service.settings.http_body_bytes_max
    bad_type, good_type = {"content-type": "text/plain"}, JSON
    worker = {"authorization": f"Bearer {api.secrets['worker']}"}
    user = {"authorization": f"Bearer {api.secrets['user']}", "idempotency-key": "a b"}
    steps = (
        ("PUT", bad_type, large, "method_not_allowed"),
        ("POST", bad_type, large, "unauthenticated"),
        ("POST", bad_type | worker, large, "forbidden"),
        ("POST", bad_type | user, large, "unsupported_media_type"),
        ("POST", good_type | user, large, "body_too_large"),
        ("POST", good_type | user, b"[" * 50, "malformed_request"),
        ("POST", good_type | user, b"[]", "invalid_input"),
    )
    for method, headers, body, code in steps:
        answer = await api.client.request(method, "/v1/tasks", headers=headers, content=body)
        assert answer.json()["code"] == code


async def test_the_callers_trace_goes_on_in_the_answer_and_in_the_events(api: Api) -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"

    answer = await api.post("/v1/tasks", BODY, traceparent=parent)

    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert answer.headers["traceparent"] != parent
    recorded = await api.service.log.read(await api.service.log.head() - 2, 2)
    assert [one.event.meta.trace_id for one in recorded] == [TRACE, TRACE]
    refused = await api.get("/v1/nothing", traceparent=parent)
    assert refused.json()["trace_id"] == TRACE


async def test_a_trace_that_is_none_is_replaced(api: Api) -> None:
    for parent in (
        "",
        "x",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
    ):
        answer = await api.get("/health/live", None, traceparent=parent)
        assert TRACE not in answer.headers["traceparent"].lower(), parent


@pytest.mark.parametrize(
    ("error", "code", "charged"),
    [
        (Unavailable("host=10.0.0.1 password=x"), "unavailable", 0),
        (Overloaded("The commit queue", 10), "overloaded", 0),
        (ShuttingDown("bye"), "shutting_down", 0),
        (OutcomeUnknown("10.0.0.1"), "outcome_unknown", None),
        (CommandRejected("relation secret"), "command_rejected", 0),
        (RuntimeError("10.0.0.1"), "internal", 0),
        (RecursionError(), "internal", 0),
    ],
)
async def test_faults_are_told_without_their_insides(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, charged: int | None
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api.service.committer, "execute", fail)
    api.client.event_hooks = {}

    answer = await api.post("/v1/tasks", BODY)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (PROBLEMS[code].status, code)
    assert problem["credits"] == {"charged": charged, "released": charged}
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)
    assert str(error) not in answer.text or not str(error)


async def test_what_the_log_cannot_give_is_told_by_name(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await api.submit()
    with monkeypatch.context() as patch:
        patch.setattr(log_module, "STREAM_EVENTS_MAX", 1)
        past = await api.get("/v1/account?at=3")
    assert (past.status_code, past.json()["code"]) == (500, "stream_too_long")
    await alter_events_of(api, parse_id("task", task["id"]))
    history = await api.get(f"/v1/tasks/{task['id']}/history")
    assert (history.status_code, history.json()["code"]) == (500, "event_unreadable")
    await alter_events_of(api, api.account)
    past = await api.get("/v1/account?at=3")
    assert (past.status_code, past.json()["code"]) == (500, "event_unreadable")


async def alter_events_of(api: Api, stream_id: UUID) -> None:
    query = "UPDATE tallystick_events SET state = 'x' WHERE originator_id = %s"
    async with api.service.pool.connection() as connection:
        await connection.execute(query, (stream_id,))


async def test_a_lost_database_is_unavailable_everywhere_and_not_ready(api: Api) -> None:
    await api.service.pool.close()

    for path in ("/v1/tasks", "/v1/account", f"/v1/tasks/task_{'0' * 32}", "/v1/account/statement"):
        answer = await api.get(path)
        assert (path, answer.status_code, answer.json()["code"]) == (path, 503, "unavailable")
    ready = await api.get("/health/ready", None)
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == {"ok": False, "error": "unavailable"}
    assert (await api.get("/health/live", None)).status_code == 200
    metrics = await api.get("/metrics", None)
    assert metrics.status_code == 200
    assert "tallystick_commit_batches" in metrics.text


async def test_readiness_shows_lost_wake_ups_pending_migrations_and_the_queue(api: Api) -> None:
    await api.submit()
    checks = (await api.get("/health/ready", None)).json()["checks"]
    assert checks["wakeup"] == {"ok": True, "mode": "listening", "losses": 0}
    assert [(t["type"], t["waiting"]) for t in checks["queue"]["types"]] == [("double", 1)]
    assert {lag["projection"] for lag in checks["projections"]["lag"]} >= {"statement.v1"}

    await api.service.wakeup.close()
    async with api.service.pool.connection() as connection:
        await connection.execute(
            "DELETE FROM _yoyo_migration WHERE migration_id LIKE '0003%%'", prepare=False
        )

    answer = await api.get("/health/ready", None)
    checks = answer.json()["checks"]
    assert answer.status_code == 503
    assert checks["wakeup"]["mode"] == "polling"
    assert checks["database"]["ok"] is False
    assert [name[:4] for name in checks["database"]["pending"]] == ["0003"]


async def test_requests_are_counted_by_route_and_status(api: Api) -> None:
    await api.submit()
    await api.get("/v1/tasks/task_1")

    text = (await api.get("/metrics", None)).text

    wanted = (
        'tallystick_http_requests_total{method="POST",route="/v1/tasks",status="202"} 1.0',
        'tallystick_http_requests_total{method="GET",route="/v1/tasks/{id}",status="404"} 1.0',
        'tallystick_queue_tasks{state="waiting",type="double"} 1.0',
        "tallystick_wakeup_listening 1.0",
        "tallystick_commit_commands",
        'tallystick_projection_lag_events{projection="statement.v1"}',
    )
    assert [line for line in wanted if line not in text] == []


def test_every_error_has_its_row() -> None:
    """So that none is told as a fault of ours by mistake."""
    codes = set()
    kinds = [TallystickError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        codes.add(kind.code)
    faults = {
        "already_tracked",
        "writes_through_committer",
        "prices_needed",
        "stream_needed",
        "internal",
    }
    assert codes - set(PROBLEMS) - faults <= _OF_OTHER_EDGES
    assert submit_task.idempotent


_OF_OTHER_EDGES = {"migration_failed", "address_taken", "bad_setting"}
"""Said by the command line, before anything is served."""


async def test_many_at_once_are_all_answered(api: Api) -> None:
    answers = await asyncio.gather(*(api.get("/v1/account") for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200}
