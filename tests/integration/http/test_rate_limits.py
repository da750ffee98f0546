"""`RateLimit` and `RateLimit-Policy`: what an account has left, exact after its own commit."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from service.http import rate_limit
from service.http.rate_limit import COUNTED
from service.http.routes import ROUTES
from tests.integration.http.api import Api

POLICY = '"active_tasks_max";q=10, "daily_tasks_max";q=1000;w=86400'
LEFT = re.compile(r'"active_tasks_max";r=(\d+), "daily_tasks_max";r=(\d+);t=(\d+)')
BODY = {"type": "double", "input": {"n": 1}}


def left(answer: httpx.Response) -> tuple[int, int]:
    """Active and daily tasks that are left."""
    assert answer.headers["ratelimit-policy"] == POLICY
    found = LEFT.fullmatch(answer.headers["ratelimit"])
    assert found is not None, answer.headers["ratelimit"]
    active, daily, seconds = map(int, found.groups())
    assert 0 < seconds <= rate_limit.DAY_SECONDS
    return active, daily


def board(members: int, parallel: int) -> dict[str, Any]:
    return {"kind": "board", "members": [BODY] * members, "parallel_max": parallel}


async def test_what_is_left_is_told_of_each_task_and_group(api: Api) -> None:
    assert left(await api.get("/v1/account")) == (10, 1_000)
    first = await api.post("/v1/tasks", BODY)
    assert (first.status_code, left(first)) == (202, (9, 999))
    assert left(await api.post("/v1/groups", board(6, 3))) == (6, 993)
    assert left(await api.post("/v1/tasks", BODY, "other")) == (9, 999)
    await api.post(f"/v1/tasks/{first.json()['id']}/cancel", {})
    assert left(await api.post("/v1/tasks", BODY)) == (6, 992)


async def test_a_refusal_tells_the_limit_it_was_for_and_what_is_left_of_it(api: Api) -> None:
    for _ in range(8):
        await api.submit()
    refused = await api.post("/v1/groups", board(3, 3))
    assert (refused.status_code, refused.json()["limit"]) == (429, "active_tasks_max")
    assert refused.headers["ratelimit-policy"] == '"active_tasks_max";q=10'
    assert refused.headers["ratelimit"] == '"active_tasks_max";r=2'
    for _ in range(2):
        await api.submit()
    refused = await api.post("/v1/tasks", BODY)
    assert refused.headers["ratelimit"] == '"active_tasks_max";r=0'


async def test_the_limit_of_a_day_says_when_it_is_whole_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = api.service.plans.named("standard")
    few = type(plan)(name=plan.name, daily_tasks_max=2)
    monkeypatch.setitem(api.service.plans._plans, plan.name, few)
    await api.submit()
    refused = await api.post("/v1/groups", board(2, 1))
    assert (refused.status_code, refused.json()["limit"]) == (429, "daily_tasks_max")
    seconds = refused.headers["retry-after"]
    assert refused.headers["ratelimit-policy"] == '"daily_tasks_max";q=2;w=86400'
    assert refused.headers["ratelimit"] == f'"daily_tasks_max";r=1;t={seconds}'


async def test_an_answer_given_again_does_not_tell_what_was_left_then(api: Api) -> None:
    first = await api.post("/v1/tasks", BODY, idempotency_key="once")
    again = await api.post("/v1/tasks", BODY, idempotency_key="once")
    assert left(first) == (9, 999)
    assert again.headers["idempotent-replayed"] == "true"
    assert "ratelimit" not in again.headers


def test_the_routes_that_tell_it_are_there() -> None:
    assert {route.name for route in ROUTES} >= COUNTED
