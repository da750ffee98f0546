"""A10 over HTTP: whatever a remote worker sends is kept clean, or refused with a typed error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tallystick.handler import Context, handler
from tests.integration.http.api import CREDITS, JSON, Api, Numbers, running_api

EXAMPLES = settings().max_examples // 2
words = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["", "\x00", "\ud800", "half", "network", "x" * 300, "x" * 9_000]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | words
    | st.sampled_from([2**63, -(2**70), 10**400, 1e308, float("nan"), float("inf")])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)
progress = st.fixed_dictionaries(
    {},
    optional={
        "percent": scalars,
        "message": scalars,
        "completed": scalars,
        "total": scalars,
        "stranger": scalars,
    },
)
failures = st.fixed_dictionaries(
    {"type": st.sampled_from(["network", "internal"]) | words},
    optional={
        "message": scalars,
        "detail": scalars,
        "stage": scalars,
        "retryable": scalars,
        "retry_after_seconds": scalars,
    },
)
sent = st.one_of(
    st.tuples(st.just("complete"), st.fixed_dictionaries({"result": values})),
    st.tuples(st.just("complete"), st.fixed_dictionaries({"result": st.just({"value": 2**70})})),
    st.tuples(st.just("fail"), st.fixed_dictionaries({"failure": failures})),
    st.tuples(st.just("progress"), st.fixed_dictionaries({"progress": progress})),
    st.tuples(st.just("heartbeat"), st.fixed_dictionaries({"progress": progress})),
    st.tuples(
        st.just("stage"), st.fixed_dictionaries({"stage": scalars}, optional={"percent": scalars})
    ),
    st.tuples(st.just("release"), st.fixed_dictionaries({"reason": scalars})),
)


class Anything(msgspec.Struct):
    value: Any = None


@handler("anything", price_credits=1, stages={"half": 50}, attempts_max=1)
async def anything(given: Numbers, _: Context) -> Anything:
    """Carried out by remote workers only."""
    return Anything(given.n)


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def serving(database: str, tmp_path: Path) -> Iterator[tuple[Api, Run]]:
    """A running API on a loop that outlives one example."""
    with asyncio.Runner() as runner:
        running = running_api(database, tmp_path, [anything])
        api = runner.run(running.__aenter__())
        yield api, runner.run
        runner.run(running.__aexit__(None, None, None))


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(sent, min_size=1, max_size=5))
def test_whatever_a_worker_sends_is_kept_or_refused(
    serving: tuple[Api, Run], requests: list[tuple[str, dict[str, Any]]]
) -> None:
    api, run = serving
    run(_play(api, requests))


async def _play(api: Api, requests: list[tuple[str, dict[str, Any]]]) -> None:
    answer = await api.post("/v1/tasks", {"type": "anything", "input": {"n": 1}})
    task_id = answer.json()["id"]
    [claimed] = await api.claim(types=["anything"])
    with capture_logs() as logs:
        for verb, body in requests:
            said = await _send(api, task_id, verb, {"token": claimed["token"], **body})
            assert said.status_code in {200, 400, 409}, said.text
        last = await _send(
            api, task_id, "fail", {"token": claimed["token"], "failure": {"type": "internal"}}
        )
    assert last.status_code in {200, 409}
    assert [line for line in logs if line["log_level"] in {"error", "warning"}] == []
    task = (await api.get(f"/v1/tasks/{task_id}")).json()
    if task["status"] == "queued":  # it was handed back
        task = (await api.post(f"/v1/tasks/{task_id}/cancel")).json()
    assert task["status"] in {"completed", "failed", "cancelled"}
    assert task["credits"]["held"] == 0
    available, held, captured = await api.balance()
    assert (held, available + captured) == (0, CREDITS)


async def _send(api: Api, task_id: str, verb: str, body: object) -> httpx.Response:
    """As Python's own JSON has it: NaN, Infinity, lone surrogates and numbers of any length."""
    return await api.client.post(
        f"/v1/worker/tasks/{task_id}/{verb}",
        content=json.dumps(body).encode(),
        headers=JSON | {"authorization": f"Bearer {api.secrets['worker']}"},
    )
