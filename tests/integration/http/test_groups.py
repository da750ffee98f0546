"""Groups over HTTP: started once a key, shown as their members end, charged for what they give."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.integration.http.api import CREDITS, FINAL, PRICE, Api


def board(members: int = 3, **more: Any) -> dict[str, Any]:
    tasks = [{"type": "double", "input": {"n": number}} for number in range(members)]
    return {"kind": "board", "members": tasks, **more}


async def start(api: Api, members: int = 3, **more: Any) -> dict[str, Any]:
    answer = await api.post("/v1/groups", board(members, **more))
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def shown(api: Api, group: dict[str, Any], as_: str = "user") -> dict[str, Any]:
    answer = await api.get(f"/v1/groups/{group['id']}", as_)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def deliver(api: Api, task: dict[str, Any]) -> None:
    done = await api.work(task["id"], "complete", task["token"], result={"n": 2})
    assert done.status_code == 200, done.text


async def test_a_group_is_shown_as_its_members_end(api: Api) -> None:
    group = await start(api, 3, parallel_max=2, project="films")
    assert group["status"] == "processing"
    assert group["credits"] == {"held": 3 * PRICE, "charged": 0, "released": 0}
    assert group["progress"] == {"percent": 0, "completed": 0, "total": 3}
    assert [member["status"] for member in group["members"]] == ["active", "active", "pending"]
    assert group["members"][2]["task_id"] is None
    first, second = await api.claim(limit=5)
    await deliver(api, first)
    failed = await api.work(second["id"], "fail", second["token"], failure=FINAL)
    assert failed.status_code == 200
    half = await shown(api, group)
    assert half["progress"] == {"percent": 66, "completed": 1, "total": 3}
    assert [(m["status"], m["charged"]) for m in half["members"]] == [
        ("completed", PRICE), ("failed", 0), ("active", 0),
    ]  # fmt: skip
    assert half["members"][1]["failure"]["type"] == "network"
    assert half["members"][2]["task_status"] == "queued"
    (third,) = await api.claim(limit=5)
    await deliver(api, third)
    ended = await shown(api, group)
    assert (ended["status"], ended["next"]) == ("partial", ["retry"])
    assert ended["credits"] == {"held": 0, "charged": 2 * PRICE, "released": PRICE}
    assert ended["progress"]["percent"] == 100
    assert await api.balance() == (CREDITS - 2 * PRICE, 0, 2 * PRICE)
    task = (await api.get(f"/v1/tasks/{first['id']}")).json()
    assert (task["group_id"], task["project"]) == (group["id"], "films")


async def test_live_progress_of_a_member_counts_without_a_new_version(api: Api) -> None:
    group = await start(api, 2, parallel_max=1)
    (task,) = await api.claim()
    beat = await api.work(task["id"], "progress", task["token"], progress={"percent": 50})
    assert beat.status_code == 200
    answer = await api.get(f"/v1/groups/{group['id']}")
    assert answer.headers["etag"] == '"v1"'
    assert answer.json()["progress"]["percent"] == 25
    assert answer.json()["members"][0]["task_status"] == "running"


async def test_the_same_key_again_is_the_same_group(api: Api) -> None:
    first = await start(api, key="board 7")
    again = await api.post("/v1/groups", board(5, key="board 7"))
    assert again.status_code == 200
    assert (again.json()["id"], len(again.json()["members"])) == (first["id"], 3)
    assert again.headers["location"] == f"/v1/groups/{first['id']}"
    assert await api.balance() == (CREDITS - 3 * PRICE, 3 * PRICE, 0)
    other = await api.post("/v1/groups", board(key="board 7"), "other")
    assert other.status_code == 202
    assert other.json()["id"] != first["id"]


async def test_an_idempotency_key_makes_one_group_with_one_answer(api: Api) -> None:
    headers = {"idempotency_key": '"once"'}
    first, second = [await api.post("/v1/groups", board(), **headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.content == first.content
    reused = await api.post("/v1/groups", board(2), **headers)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    assert await api.balance() == (CREDITS - 3 * PRICE, 3 * PRICE, 0)


async def test_a_kind_makes_members_of_one_input(api: Api) -> None:
    body = {
        "kind": "thumbnails",
        "input": {"url": "https://example.com/clip.mp4", "at_seconds": [1, 2.5], "width_max": 320},
    }
    answer = await api.post("/v1/groups", body)
    assert answer.status_code == 202, answer.text
    members = answer.json()["members"]
    assert [member["type"] for member in members] == ["generate_thumbnail"] * 2
    task = (await api.get(f"/v1/tasks/{members[1]['task_id']}")).json()
    assert task["input"] == {
        "url": "https://example.com/clip.mp4",
        "upload": None,
        "at_seconds": 2.5,
        "width_max": 320,
        "format": "jpeg",
    }


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (board(0), 400, "invalid_input", "/members"),
        (board(201), 400, "invalid_input", "/members"),
        (board(1) | {"input": {}}, 400, "invalid_input", "/members"),
        ({"kind": "board", "input": {}}, 400, "invalid_input", "/kind"),
        ({"kind": "thumbnails", "input": {"at_seconds": [1]}}, 400, "invalid_input", "/input"),
        (
            {"kind": "thumbnails", "input": {"url": "https://example.com/a", "at_seconds": [-1]}},
            400,
            "invalid_input",
            "/input/at_seconds/0",
        ),
        (board(1, parallel_max=0), 400, "invalid_input", "/parallel_max"),
        (board(1, key=""), 400, "invalid_input", "/key"),
        (
            {"kind": "x", "members": [{"type": "double", "input": {"n": "two"}}]},
            400,
            "invalid_input",
            "/members/0/input/n",
        ),
        ({"kind": "x", "members": [{"type": "none", "input": {}}]}, 400, "unknown_task_type", None),
        (board(11, parallel_max=11), 429, "limit_reached", None),
    ],
)
async def test_what_is_out_of_bounds_is_refused_and_changes_nothing(
    api: Api, body: dict[str, Any], status: int, code: str, pointer: str | None
) -> None:
    answer = await api.post("/v1/groups", body)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["code"] == code
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer
    assert await api.balance() == (CREDITS, 0, 0)
    assert (await api.get("/v1/groups")).json()["items"] == []


async def test_too_few_credits_are_told_for_the_whole_group(api: Api) -> None:
    answer = await api.post("/v1/groups", board(CREDITS // PRICE))
    assert answer.status_code == 202
    more = await api.post("/v1/groups", board(1, parallel_max=1))
    problem = more.json()
    assert (more.status_code, problem["code"]) == (402, "insufficient_credits")
    assert (problem["required"], problem["available"]) == (PRICE, 0)


async def test_a_cancel_says_whether_it_has_to_wait(api: Api) -> None:
    waiting, running = await start(api, 2), await start(api, 2, parallel_max=1)
    at_once = await api.post(f"/v1/groups/{waiting['id']}/cancel", {"reason": "enough"})
    assert (at_once.status_code, at_once.json()["status"]) == (200, "cancelled")
    (task,) = await api.claim()
    asked = await api.post(f"/v1/groups/{running['id']}/cancel")
    assert (asked.status_code, asked.json()["status"]) == (202, "cancelling")
    assert [m["status"] for m in asked.json()["members"]] == ["active", "skipped"]
    stopped = await api.work(task["id"], "release", task["token"])
    assert stopped.json()["status"] == "cancelled"
    assert (await shown(api, running))["status"] == "cancelled"
    assert await api.balance() == (CREDITS, 0, 0)
    late = await api.post(f"/v1/groups/{running['id']}/retry")
    assert (late.status_code, late.json()["code"]) == (409, "illegal_transition")


async def test_a_retry_runs_what_was_not_delivered(api: Api) -> None:
    group = await start(api, 2, parallel_max=2)
    first, second = await api.claim(limit=2)
    await deliver(api, first)
    await api.work(second["id"], "fail", second["token"], failure=FINAL)
    alone = await api.post(f"/v1/tasks/{second['id']}/retry")
    assert (alone.status_code, alone.json()["code"]) == (409, "member_of_group")
    stale = await api.post(f"/v1/groups/{group['id']}/retry", if_match='"v1"')
    assert stale.status_code == 412
    version = (await shown(api, group))["version"]
    again = await api.post(f"/v1/groups/{group['id']}/retry", if_match=f'"v{version}"')
    assert (again.status_code, again.json()["run"]) == (202, 2)
    assert again.json()["credits"]["held"] == PRICE
    (third,) = await api.claim(limit=2)
    assert third["id"] not in {first["id"], second["id"]}
    await deliver(api, third)
    assert (await shown(api, group))["status"] == "completed"
    assert await api.balance() == (CREDITS - 2 * PRICE, 0, 2 * PRICE)


async def test_waiting_ends_with_the_group(api: Api) -> None:
    group = await start(api, 1)
    (task,) = await api.claim()
    path = f"/v1/groups/{group['id']}"
    waiting = asyncio.create_task(api.get(path, prefer="wait=60"))
    async with asyncio.timeout(10):
        while not (await _waiters(api)):  # noqa: ASYNC110 - until the request has come
            await asyncio.sleep(0.01)
    await deliver(api, task)
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert answer.headers["preference-applied"] == "wait=60"
    assert "retry-after" not in answer.headers
    same = await api.get(path, if_none_match=answer.headers["etag"])
    assert same.status_code == 304


async def _waiters(api: Api) -> bool:
    text = (await api.get("/metrics", None)).text
    return any(
        line.startswith("tallystick_http_waiting") and float(line.split()[-1]) > 0
        for line in text.splitlines()
    )


async def test_lists_come_in_pages_and_by_what_is_asked_for(api: Api) -> None:
    groups = [await start(api, 1, project="odd" if n % 2 else "even") for n in range(3)]
    other = (await api.post("/v1/groups", board(1, key="k") | {"kind": "story"})).json()
    newest_first = [other["id"], *[group["id"] for group in reversed(groups)]]
    found: list[str] = []
    path: str | None = "/v1/groups?limit=3"
    while path is not None:
        answer = await api.get(path)
        page = answer.json()
        assert all("members" not in item for item in page["items"])
        found += [item["id"] for item in page["items"]]
        path = answer.links["next"]["url"] if page["has_more"] else None
    assert found == newest_first
    await api.post(f"/v1/groups/{groups[0]['id']}/cancel")
    for query, wanted in {
        "kind=story": [other["id"]],
        "key=k": [other["id"]],
        "project=odd": [groups[1]["id"]],
        "status=cancelled": [groups[0]["id"]],
        "status=cancelled&status=failed&project=odd": [],
    }.items():
        items = (await api.get(f"/v1/groups?{query}")).json()["items"]
        assert [item["id"] for item in items] == wanted, query


async def test_admins_see_and_end_any_accounts_groups(api: Api) -> None:
    group = await start(api, 1)
    listed = (await api.get(f"/v1/groups?account_id={api.account_id}", "admin")).json()
    assert [item["id"] for item in listed["items"]] == [group["id"]]
    assert (await shown(api, group, "admin"))["id"] == group["id"]
    ended = await api.post(f"/v1/groups/{group['id']}/cancel", {}, "admin")
    assert ended.status_code == 200
    assert (await api.get("/v1/groups", "other")).json()["items"] == []


async def test_the_history_tells_the_group_and_its_money(api: Api) -> None:
    group = await start(api, 2, parallel_max=1)
    for _ in range(2):
        (task,) = await api.claim()
        await deliver(api, task)
    items = await _history(api, f"/v1/groups/{group['id']}/history")
    assert [(item["type"], item["stream"]) for item in items] == [
        ("group.started", "group"),
        ("credits.held", "account"),
        ("group.member_ended", "group"),
        ("group.member_ended", "group"),
        ("group.completed", "group"),
        ("credits.captured", "account"),
    ]
    assert items[0]["data"]["members"][0]["type"] == "double"
    assert "input" not in items[0]["data"]["members"][0]
    assert items[1]["data"]["group_id"] == group["id"]
    assert items[2]["data"]["next_task_id"] == items[3]["data"]["task_id"]
    assert (await _history(api, f"/v1/groups/{group['id']}/history?limit=1", pages=4)) == items
    members = await _history(api, f"/v1/tasks/{task['id']}/history")
    assert [item["type"] for item in members] == [
        "task.submitted",
        "task.started",
        "task.completed",
    ]


async def _history(api: Api, path: str, pages: int = 1) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for number in range(pages):
        answer: httpx.Response = await api.get(path)
        items += answer.json()["items"]
        assert answer.json()["has_more"] is (number < pages - 1)
        path = answer.links["next"]["url"] if number < pages - 1 else path
    return items


async def test_the_statement_names_the_group(api: Api) -> None:
    group = await start(api, 2)
    await api.post(f"/v1/groups/{group['id']}/cancel")
    await api.project()
    lines = (await api.get("/v1/account/statement")).json()["items"]
    told = [(line["kind"], line["amount"], line["group_id"], line["task_id"]) for line in lines]
    assert told[:2] == [
        ("released", 2 * PRICE, group["id"], None),
        ("held", 2 * PRICE, group["id"], None),
    ]
    limits = (await api.get("/v1/account")).json()["limits"]
    assert limits["daily_tasks"]["used"] == 2
