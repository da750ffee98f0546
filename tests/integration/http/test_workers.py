"""Remote workers' verbs over HTTP: claims, leases, fencing, and results that are cleaned."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tallystick.handler import Context, handler
from tests.integration.http.api import (
    CREDITS,
    FINAL,
    JSON,
    PRICE,
    Api,
    Doubled,
    Numbers,
    running_api,
)


@handler("hurried", price_credits=PRICE, run_seconds_max=1)
async def hurried(given: Numbers, _: Context) -> Doubled:
    """Never run here: it is claimed over HTTP."""
    return Doubled(n=given.n)


async def _claimed(api: Api) -> tuple[str, int]:
    await api.submit(4)
    [claimed] = await api.claim()
    return claimed["id"], claimed["token"]


async def test_a_claim_brings_the_input_a_token_and_a_lease(api: Api) -> None:
    task = await api.submit(4, priority="low")
    urgent = await api.submit(5, priority="critical")

    [first] = await api.claim(limit=1)
    [second] = await api.claim(limit=100, types=["double"])

    assert (first["id"], second["id"]) == (urgent["id"], task["id"])
    assert second["input"] == {"n": 4}
    assert (second["token"], second["run"], second["attempt"]) == (1, 1, 1)
    lease_until = msgspec.convert(second["lease_until"], type=datetime)
    left = (lease_until - api.service.clock.now()).total_seconds()
    assert 0 < left <= api.service.leases.lease_seconds
    assert await api.claim(types=["double"]) == []


async def test_only_the_types_asked_for_are_claimed(api: Api) -> None:
    await api.submit()

    assert await api.claim(types=["triple"]) == []
    assert len(await api.claim()) == 1


async def test_pending_tasks_are_listed_until_they_are_claimed(api: Api) -> None:
    tasks = [(await api.submit(n))["id"] for n in range(3)]

    page = await api.get("/v1/worker/tasks?limit=2", "worker")
    rest = await api.get(page.links["next"]["url"], "worker")
    assert [t["id"] for t in page.json()["items"] + rest.json()["items"]] == tasks[::-1]
    await api.claim(limit=3)
    assert (await api.get("/v1/worker/tasks", "worker")).json()["items"] == []


async def test_progress_is_seen_by_pollers_without_a_new_version(api: Api) -> None:
    task_id, token = await _claimed(api)
    progress = {"percent": 42, "message": "uploading\u0000", "completed": 21, "total": 50}

    answer = await api.work(task_id, "progress", token, progress=progress)

    assert answer.json()["state"] == "held"
    task = (await api.get(f"/v1/tasks/{task_id}")).json()
    assert task["version"] == 2
    assert task["progress"] == {
        "percent": 42, "stage": None, "message": "uploading", "completed": 21, "total": 50,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "given", "percent"),
    [
        ("complete", {"result": {"n": 8}}, 100),
        ("fail", {"failure": {"type": "param_error", "message": "No."}}, 0),
        ("fail", {"failure": {"type": "network", "message": "Later."}}, 0),
        ("release", {}, 0),
    ],
    ids=["completed", "failed", "backoff", "queued"],
)
async def test_what_a_worker_said_last_is_not_shown_beside_the_end_of_its_work(
    api: Api, verb: str, given: dict[str, Any], percent: int
) -> None:
    task_id, token = await _claimed(api)
    said = {"percent": 42, "message": "uploading", "completed": 21, "total": 50}
    await api.work(task_id, "progress", token, progress=said)

    await api.work(task_id, verb, token, **given)

    [listed] = (await api.get("/v1/tasks")).json()["items"]
    for task in (listed, (await api.get(f"/v1/tasks/{task_id}")).json()):
        assert task["progress"] == {
            "percent": percent, "stage": None, "message": None, "completed": None, "total": None,
        }  # fmt: skip


async def test_a_stage_is_a_fact_with_its_types_percent(api: Api) -> None:
    task_id, token = await _claimed(api)

    answer = await api.work(task_id, "stage", token, stage="half")

    assert answer.json()["version"] == 3
    assert (answer.json()["progress"]["stage"], answer.json()["progress"]["percent"]) == (
        "half",
        50,
    )
    unknown = await api.work(task_id, "stage", token, stage="third")
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (400, "/stage")
    own = await api.work(task_id, "stage", token, stage="third", percent=75)
    assert own.json()["progress"]["percent"] == 75


async def test_completing_charges_and_doing_it_again_changes_nothing(api: Api) -> None:
    task_id, token = await _claimed(api)

    first = await api.work(task_id, "complete", token, result={"n": 8})
    again = await api.work(task_id, "complete", token, result={"n": 9})

    assert first.status_code == again.status_code == 200
    assert first.json()["result"] == again.json()["result"] == {"n": 8}
    assert first.json()["credits"] == {"held": 0, "charged": PRICE, "released": 0}
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


async def test_ending_a_task_with_a_key_happens_once(api: Api) -> None:
    task_id, token = await _claimed(api)
    path, body = f"/v1/worker/tasks/{task_id}/complete", {"token": token, "result": {"n": 8}}

    first = await api.post(path, body, "worker", idempotency_key="k")
    again = await api.post(path, body, "worker", idempotency_key="k")
    changed = await api.post(path, body | {"result": {"n": 9}}, "worker", idempotency_key="k")

    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


async def test_what_a_provider_sent_is_cleaned_and_never_fails_the_write(api: Api) -> None:
    task_id, token = await _claimed(api)
    result = (
        rb'{"n":8,"junk":"x\u0000\ud800","huge":99999999999999999999,"inf":1e999,"bad":"' + b"\xff"
    )
    body = b'{"token":%d,"result":%s"}}' % (token, result)

    answer = await api.client.post(
        f"/v1/worker/tasks/{task_id}/complete",
        content=body,
        headers=JSON | {"authorization": f"Bearer {api.secrets['worker']}"},
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == {"n": 8}


async def test_a_result_that_is_not_the_types_is_refused_and_the_task_goes_on(api: Api) -> None:
    task_id, token = await _claimed(api)

    for result, pointer in (
        ({"n": "8"}, "/result/n"),
        ({}, "/result"),
        ([], "/result"),
        ("8", "/result"),
    ):
        answer = await api.work(task_id, "complete", token, result=result)
        assert answer.status_code == 400, result
        assert answer.json()["errors"][0]["pointer"] == pointer, result
    assert (await api.work(task_id, "heartbeat", token)).json()["state"] == "held"


async def test_failing_gives_the_credits_back(api: Api) -> None:
    task_id, token = await _claimed(api)
    failure = {"type": "model_error", "message": "m" * 5_000, "detail": "d\u0000" * 9_000}

    answer = await api.work(task_id, "fail", token, failure=failure)

    assert answer.json()["status"] == "failed"
    assert answer.json()["credits"] == {"held": 0, "charged": 0, "released": PRICE}
    assert len(answer.json()["failure"]["message"]) == 2_000
    assert len(answer.json()["failure"]["detail"]) == 8_000
    assert await api.balance() == (CREDITS, 0, 0)


async def test_a_failure_that_may_pass_is_tried_again_later_and_keeps_its_credits(api: Api) -> None:
    task_id, token = await _claimed(api)
    failure = {"type": "rate_limited", "detail": "429 from 10.0.0.1"}

    answer = await api.work(task_id, "fail", token, failure=failure | {"retry_after_seconds": 100})

    assert (answer.json()["status"], answer.json()["credits"]["held"]) == ("backoff", PRICE)
    shown = (await api.get(f"/v1/tasks/{task_id}")).json()
    assert shown["failure"]["type"] == "rate_limited"
    assert "detail" not in shown["failure"]
    again_at = msgspec.convert(shown["not_before"], type=datetime)
    assert 90 < (again_at - api.service.clock.now()).total_seconds() <= 100
    assert await api.claim() == []
    pending = (await api.get("/v1/worker/tasks", "worker")).json()["items"]
    assert [task["id"] for task in pending] == [task_id]
    # Counted here and not asked for by health, which on a busy machine may have no count in time.
    [depth] = (await api.service.queue.count()).depths
    assert (depth.waiting, depth.delayed, depth.backoff, depth.active) == (0, 0, 1, 0)
    cancelled = await api.post(f"/v1/tasks/{task_id}/cancel")
    assert cancelled.json()["credits"]["released"] == PRICE


async def test_a_task_handed_back_is_claimed_again_with_a_new_token(api: Api) -> None:
    task_id, token = await _claimed(api)

    answer = await api.work(task_id, "release", token, reason="shutting down")

    assert (answer.json()["status"], answer.json()["credits"]["held"]) == ("queued", PRICE)
    [again] = await api.claim()
    assert (again["id"], again["token"]) == (task_id, token + 1)


async def _assert_refused(api: Api, task_id: str, token: int) -> None:
    """Each verb of a worker with this token is told that its lease is lost."""
    for verb, more in (
        ("heartbeat", {}),
        ("progress", {"progress": {"percent": 1}}),
        ("stage", {"stage": "half"}),
        ("complete", {"result": {"n": 1}}),
        ("fail", {"failure": FINAL}),
        ("release", {}),
    ):
        answer = await api.work(task_id, verb, token, **more)
        assert (verb, answer.status_code, answer.json().get("code")) == (verb, 409, "lease_lost")


async def test_a_stale_token_is_refused_by_every_verb(api: Api) -> None:
    task_id, token = await _claimed(api)
    await api.work(task_id, "release", token)
    await api.claim()

    await _assert_refused(api, task_id, token)
    assert (await api.get(f"/v1/tasks/{task_id}")).json()["status"] == "running"
    assert await api.balance() == (CREDITS - PRICE, PRICE, 0)


async def test_a_remote_worker_that_oversleeps_its_lease_is_refused_by_every_verb(
    database: str, tmp_path: Path
) -> None:
    """While another has the task, and after that one has ended it and was paid."""
    async with running_api(database, tmp_path, lease_seconds=0.2, heartbeat_seconds=0.1) as api:
        task_id, token = await _claimed(api)
        async with asyncio.timeout(20):
            while await api.service.bus.rescue(1) == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await _assert_refused(api, task_id, token)
        [heir] = await api.claim(worker="heir")
        await _assert_refused(api, task_id, token)

        answer = await api.work(task_id, "complete", heir["token"], result={"n": 8})
        await _assert_refused(api, task_id, token)

        assert answer.json()["credits"] == {"held": 0, "charged": PRICE, "released": 0}
        task = (await api.get(f"/v1/tasks/{task_id}")).json()
        assert (task["status"], task["attempt"], task["result"]) == ("completed", 2, {"n": 8})
        assert await api.balance() == (CREDITS - PRICE, 0, PRICE)


async def test_a_task_that_expires_under_its_worker_tells_it_to_stop_and_how_it_ended(
    database: str, tmp_path: Path
) -> None:
    """Its lease is lost with its run; the end it still reports is told the state that it meets."""
    async with running_api(database, tmp_path, [hurried]) as api:
        task_id = (await api.submit(type="hurried"))["id"]
        [claimed] = await api.claim(types=["hurried"])
        assert (await api.work(task_id, "heartbeat", claimed["token"])).json()["state"] == "held"
        async with asyncio.timeout(20):
            while await api.service.bus.expire(10) == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        for verb, more, code in (
            ("heartbeat", {}, "lease_lost"),
            ("progress", {"progress": {"percent": 1}}, "lease_lost"),
            ("stage", {"stage": "half", "percent": 50}, "illegal_transition"),
            ("complete", {"result": {"n": 1}}, "illegal_transition"),
            ("release", {}, "illegal_transition"),
        ):
            answer = await api.work(task_id, verb, claimed["token"], **more)
            assert (verb, answer.status_code, answer.json()["code"]) == (verb, 409, code)
            assert answer.json().get("state") in {None, "failed"}
        failed = (await api.work(task_id, "fail", claimed["token"], failure=FINAL)).json()
        assert (failed["status"], failed["failure"]["type"]) == ("failed", "timeout")
        assert await api.balance() == (CREDITS, 0, 0)


async def test_bad_reports_are_refused(api: Api) -> None:
    task_id, token = await _claimed(api)

    for verb, body, pointer in (
        ("heartbeat", {}, ""),
        ("heartbeat", {"token": 0}, "/token"),
        ("heartbeat", {"token": str(token)}, "/token"),
        ("progress", {"token": token}, ""),
        ("progress", {"token": token, "progress": {"percent": 100}}, "/progress/percent"),
        ("progress", {"token": token, "progress": {"total": -1}}, "/progress/total"),
        ("stage", {"token": token, "stage": ""}, "/stage"),
        ("stage", {"token": token, "stage": "half", "percent": 101}, "/percent"),
        ("fail", {"token": token, "failure": {"type": "sad"}}, "/failure/type"),
        ("complete", {"token": token}, ""),
        ("release", {"token": token, "reason": "x" * 2_001}, "/reason"),
        ("release", {"token": token, "worker": "acct_1"}, "/worker"),
    ):
        answer = await api.post(f"/v1/worker/tasks/{task_id}/{verb}", body, "worker")
        assert answer.status_code == 400, (verb, body)
        assert answer.json()["errors"][0]["pointer"] == pointer, (verb, body)


async def test_bad_claims_are_refused(api: Api) -> None:
    for body, pointer in (
        ({}, ""),
        ({"worker": ""}, "/worker"),
        ({"worker": "key_1"}, "/worker"),
        ({"worker": "w", "limit": 0}, "/limit"),
        ({"worker": "w", "limit": 101}, "/limit"),
        ({"worker": "w", "types": ["x" * 201]}, "/types/0"),
        ({"worker": "w", "type": "double"}, ""),
    ):
        answer = await api.post("/v1/worker/claim", body, "worker")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer), body


async def test_a_task_that_is_not_there_is_not_found_by_workers(api: Api) -> None:
    for task_id in ("task_" + "0" * 32, "task_1", "acct_" + "0" * 32):
        for verb, more in (("heartbeat", {}), ("complete", {"result": {"n": 1}})):
            answer = await api.work(task_id, verb, 1, **more)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
