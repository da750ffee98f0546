"""Users' verbs over HTTP, with good and bad input."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from service.identifiers import new_id, public_id
from tests.integration.http.api import CREDITS, FINAL, PRICE, Api


async def test_submit_answers_at_once_with_the_queued_task_and_its_hold(api: Api) -> None:
    answer = await api.post(
        "/v1/tasks",
        {"type": "double", "input": {"n": 3}, "priority": "high", "project": "film"},
    )

    task = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["vary"] == "Prefer"
    assert (task["status"], task["priority"], task["project"]) == ("queued", "high", "film")
    assert task["credits"] == {"held": PRICE, "charged": 0, "released": 0}
    assert task["input"] == {"n": 3}
    assert await api.balance() == (CREDITS - PRICE, PRICE, 0)


BAD_SUBMISSIONS: tuple[tuple[object, str, str], ...] = (
    ({"type": "double"}, "invalid_input", ""),
    ({"input": {"n": 1}}, "invalid_input", ""),
    ({"type": "", "input": {"n": 1}}, "invalid_input", "/type"),
    ({"type": "double", "input": {"n": "1"}}, "invalid_input", "/input/n"),
    ({"type": "double", "input": {}}, "invalid_input", "/input"),
    ({"type": "double", "input": []}, "invalid_input", "/input"),
    ({"type": "double", "input": {"n": 1}, "priority": "now"}, "invalid_input", "/priority"),
    ({"type": "double", "input": {"n": 1}, "project": "x" * 201}, "invalid_input", "/project"),
    ({"type": "double", "input": {"n": 1}, "prio": "low"}, "invalid_input", ""),
    (
        {"type": "double", "input": {"n": 1}, "not_before": "2026-01-01T00:00:00"},
        "invalid_input",
        "/not_before",
    ),
    ({"type": "double", "input": {"n": 1, "note": "x" * 70_000}}, "invalid_input", "/input"),
    ({"type": "triple", "input": {"n": 1}}, "unknown_task_type", "/type"),
    ([], "invalid_input", ""),
    (7, "invalid_input", ""),
)


async def test_a_bad_submission_is_refused_by_pointer_and_holds_nothing(api: Api) -> None:
    for body, code, pointer in BAD_SUBMISSIONS:
        answer = await api.post("/v1/tasks", body)

        problem = answer.json()
        pointers = [error["pointer"] for error in problem["errors"]]
        assert (answer.status_code, problem["code"], pointers) == (400, code, [pointer]), body
    assert await api.balance() == (CREDITS, 0, 0)


async def test_without_credits_the_answer_says_what_is_required_and_available(api: Api) -> None:
    account = new_id()
    await api.open_account(account, funds=PRICE - 1)

    answer = await api.post(
        "/v1/tasks", {"type": "double", "input": {"n": 1}}, await api.key_of(account)
    )

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (402, "insufficient_credits")
    assert (problem["required"], problem["available"]) == (PRICE, PRICE - 1)


async def test_past_the_plans_limit_the_answer_says_when_to_try_again(api: Api) -> None:
    for n in range(10):
        await api.submit(n)

    answer = await api.post("/v1/tasks", {"type": "double", "input": {"n": 1}})

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (429, "limit_reached")
    assert (problem["limit"], problem["maximum"]) == ("active_tasks_max", 10)
    assert int(answer.headers["retry-after"]) >= 1


UNHINDERED = {
    "throttled": [],
    "queue": {"position": 0, "precision": "exact", "starts_in_seconds": None},
}
"""What is told, besides what its submission said, of a task that waits alone."""


async def test_a_paused_task_says_so_to_its_user_and_is_resumed_by_an_admin(api: Api) -> None:
    task_id = (await api.submit())["id"]
    gate = {"kind": "account", "name": api.account_id, "reason": "unpaid"}
    paused = await api.post("/v1/queue/pauses", gate, "admin", idempotency_key="k")
    again = await api.post("/v1/queue/pauses", gate, "admin", idempotency_key="k")
    assert (paused.status_code, paused.json()["status"], paused.json()["version"]) == (
        200, "paused", 1,
    )  # fmt: skip
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == paused.json()
    listed = (await api.get("/v1/queue/pauses", "admin")).json()["items"]
    assert [(item["name"], item["reason"]) for item in listed] == [(api.account_id, "unpaid")]
    shown = (await api.get(f"/v1/tasks/{task_id}")).json()
    assert shown["throttled"] == [{"reason": "account_paused", "until": None}]
    assert shown["queue"]["starts_in_seconds"] is None
    assert await api.claim() == []
    resumed = await api.post("/v1/queue/pauses/resume", {**gate, "reason": "paid"}, "admin")
    assert (resumed.json()["status"], resumed.json()["reason"]) == ("open", "paid")
    assert len(await api.claim()) == 1
    shown = (await api.get(f"/v1/tasks/{task_id}")).json()
    assert (shown["throttled"], shown["queue"]) == ([], None)


async def test_what_cannot_be_paused_is_refused(api: Api) -> None:
    for gate, status in (
        ({"kind": "type", "name": "unheard", "reason": "r"}, 400),
        ({"kind": "provider", "name": "unheard", "reason": "r"}, 404),
        ({"kind": "account", "name": "acct_" + "0" * 32, "reason": "r"}, 404),
        ({"kind": "type", "name": "double", "reason": " "}, 400),
        ({"kind": "queue", "name": "double", "reason": "r"}, 400),
    ):
        answer = await api.post("/v1/queue/pauses", gate, "admin")
        assert answer.status_code == status, answer.text
    assert (await api.get("/v1/queue/pauses", "admin")).json() == {"items": []}


async def test_a_task_is_read_whole_by_its_owner(api: Api) -> None:
    task = await api.submit()

    answer = await api.get(f"/v1/tasks/{task['id']}")

    assert answer.status_code == 200
    assert answer.json() == task | UNHINDERED
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["vary"] == "Prefer"


async def test_a_known_version_is_not_sent_again(api: Api) -> None:
    path = f"/v1/tasks/{(await api.submit())['id']}"

    for tag, status in (
        ('"v1"', 304),
        ('W/"v1"', 304),
        ('"v9", "v1"', 304),
        ("*", 304),
        ('"v2"', 200),
        ('"x"', 200),
    ):
        answer = await api.get(path, if_none_match=tag)
        assert (tag, answer.status_code) == (tag, status)
        assert answer.headers["etag"] == '"v1"'
        assert bool(answer.content) == (status == 200)


async def test_operators_see_the_worker_and_the_cause_and_users_do_not(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    path = f"/v1/tasks/{task['id']}"

    assert "worker" not in (await api.get(path)).json()
    assert (await api.get(path, "admin")).json()["worker"] == "w1"
    failure = {"type": "model_error", "message": "No luck.", "detail": "stack trace"}
    await api.work(task["id"], "fail", claimed["token"], failure=failure)

    shown = (await api.get(path)).json()
    assert shown["failure"] == {
        "type": "model_error", "message": "No luck.", "stage": None, "retryable": False,
    }  # fmt: skip
    assert (await api.get(path, "admin")).json()["failure"]["detail"] == "stack trace"


async def test_what_is_not_there_and_what_is_not_yours_look_the_same(api: Api) -> None:
    foreign = (await api.submit(as_="other"))["id"]
    for task_id in (foreign, public_id("task", new_id()), "task_7", api.account_id):
        for path in ("", "/history"):
            answer = await api.get(f"/v1/tasks/{task_id}{path}")

            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("verb", ["cancel", "retry"])
async def test_a_foreign_task_cannot_be_moved(api: Api, verb: str) -> None:
    task = await api.submit(as_="other")

    answer = await api.post(f"/v1/tasks/{task['id']}/{verb}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.get(f"/v1/tasks/{task['id']}", "other")).json() == task | UNHINDERED


async def test_cancelling_a_queued_task_gives_its_credits_back_and_says_so(api: Api) -> None:
    task = await api.submit()

    answer = await api.post(f"/v1/tasks/{task['id']}/cancel", {"reason": "no need"})

    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["credits"] == {"held": 0, "charged": 0, "released": PRICE}
    assert await api.balance() == (CREDITS, 0, 0)


async def test_cancelling_a_running_task_asks_its_worker_to_stop(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()

    answer = await api.post(f"/v1/tasks/{task['id']}/cancel")

    assert answer.status_code == 202
    assert answer.json()["status"] == "cancelling"
    assert answer.json()["credits"]["held"] == PRICE
    beat = await api.work(task["id"], "heartbeat", claimed["token"])
    assert beat.json()["state"] == "cancelling"
    released = await api.work(task["id"], "release", claimed["token"])
    assert released.json()["status"] == "cancelled"
    assert await api.balance() == (CREDITS, 0, 0)


async def test_an_ended_task_cannot_be_cancelled_and_the_answer_says_what_can(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "complete", claimed["token"], result={"n": 2})

    answer = await api.post(f"/v1/tasks/{task['id']}/cancel")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "illegal_transition")
    assert (problem["state"], problem["allowed"]) == ("completed", [])


async def test_a_condition_lets_a_command_find_only_the_version_it_names(api: Api) -> None:
    task = await api.submit()
    path = f"/v1/tasks/{task['id']}"
    for tag in ('"v2"', 'W/"v1"', '"x"', '"v7", "v8"'):
        answer = await api.post(f"{path}/cancel", if_match=tag)
        assert (answer.status_code, answer.json()["code"]) == (412, "version_mismatch"), tag
        assert answer.headers["etag"] == '"v1"'
        assert answer.json()["actual"] == 1
    unread = await api.post(f"{path}/cancel", if_match="v1")
    assert (unread.status_code, unread.json()["errors"][0]["header"]) == (400, "If-Match")
    assert (await api.get(path)).json() == task | UNHINDERED

    for tag in ('"v1"', "*", '"v7", "v1"'):
        found = await api.submit()
        answer = await api.post(f"/v1/tasks/{found['id']}/cancel", if_match=tag)
        assert answer.status_code == 200, tag


async def test_a_failed_task_is_retried_with_a_new_hold_and_no_other_is(api: Api) -> None:
    task = await api.submit()
    path = f"/v1/tasks/{task['id']}/retry"
    assert (await api.post(path)).json()["code"] == "illegal_transition"
    [claimed] = await api.claim()
    await api.work(task["id"], "fail", claimed["token"], failure=FINAL)
    assert await api.balance() == (CREDITS, 0, 0)

    answer = await api.post(path, {})

    retried = answer.json()
    assert (answer.status_code, retried["status"], retried["run"]) == (202, "queued", 2)
    assert retried["credits"] == {"held": PRICE, "charged": 0, "released": PRICE}
    assert await api.balance() == (CREDITS - PRICE, PRICE, 0)


async def test_admins_cancel_and_retry_for_an_account(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "fail", claimed["token"], failure=FINAL)

    retried = await api.post(f"/v1/tasks/{task['id']}/retry", as_="admin")
    cancelled = await api.post(f"/v1/tasks/{task['id']}/cancel", as_="admin")

    assert (retried.status_code, cancelled.status_code) == (202, 200)
    assert await api.balance() == (CREDITS, 0, 0)


async def _listed(api: Api, query: str, as_: str = "user") -> list[Any]:
    answer = await api.get(f"/v1/tasks{query}", as_)
    assert answer.status_code == 200, answer.text
    return [item["input"] if "input" in item else item["id"] for item in answer.json()["items"]]


async def test_lists_filter_by_state_type_project_and_time(api: Api) -> None:
    first = await api.submit(project="a")
    second = await api.submit(project="b")
    third = await api.submit(as_="other")
    await api.post(f"/v1/tasks/{first['id']}/cancel")
    one, two, three = first["id"], second["id"], third["id"]
    at = second["created_at"].replace("+", "%2B")

    assert await _listed(api, "") == [two, one]
    assert await _listed(api, "?status=cancelled") == [one]
    assert await _listed(api, "?status=cancelled&status=queued") == [two, one]
    assert await _listed(api, "?project=a") == [one]
    assert await _listed(api, "?type=double") == [two, one]
    assert await _listed(api, "?type=triple") == []
    assert await _listed(api, f"?created_before={at}") == [one]
    assert await _listed(api, f"?created_after={at}") == []
    assert await _listed(api, f"?account_id={api.account_id}") == [two, one]
    assert await _listed(api, "", "admin") == [three, two, one]
    assert await _listed(api, f"?account_id={third['account_id']}", "admin") == [three]


async def test_a_foreign_account_cannot_be_listed(api: Api) -> None:
    foreign = public_id("acct", api.other_account)

    answer = await api.get(f"/v1/tasks?account_id={foreign}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


BAD_QUERIES = (
    ("limit=0", "limit"),
    ("limit=201", "limit"),
    ("limit=ten", "limit"),
    ("limit=1&limit=2", "limit"),
    ("status=done", "status"),
    ("state=queued", "state"),
    ("created_after=yesterday", "created_after"),
    ("created_after=2026-01-01T00:00:00", "created_after"),
    ("project=%00", "project"),
    ("type=" + "x" * 201, "type"),
    ("account_id=7", "account_id"),
)


async def test_a_bad_query_is_refused_by_the_parameters_name(api: Api) -> None:
    for query, parameter in BAD_QUERIES:
        answer = await api.get(f"/v1/tasks?{query}")

        problem = answer.json()
        names = [error["parameter"] for error in problem["errors"]]
        assert (answer.status_code, problem["code"], names) == (400, "invalid_input", [parameter])


async def test_a_query_that_cannot_be_read_is_refused(api: Api) -> None:
    for query in ("project=%ff", "&".join(["a=b"] * 51), "project=%ed%a0%80"):
        answer = await api.get(f"/v1/tasks?{query}")

        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


async def test_pages_of_tasks_add_up_to_the_list(api: Api) -> None:
    ids = [(await api.submit(n))["id"] for n in range(5)]

    for limit in (1, 2, 4, 5, 200):
        seen: list[str] = []
        path = f"/v1/tasks?limit={limit}&type=double&status=queued&status=running"
        while path:
            answer = await api.get(path)
            page = answer.json()
            seen += [task["id"] for task in page["items"]]
            path = answer.links.get("next", {}).get("url", "")
            assert page["has_more"] == bool(path) == (page["next_cursor"] is not None)
        assert seen == ids[::-1]


async def test_a_cursor_is_good_for_its_list_filter_and_owner_only(api: Api) -> None:
    for n in range(2):
        await api.submit(n)
        await api.submit(n, "other")
    cursor = (await api.get("/v1/tasks?limit=1")).json()["next_cursor"]
    flipped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")

    assert (await api.get(f"/v1/tasks?limit=2&cursor={cursor}")).status_code == 200
    for query, as_ in (
        (f"/v1/tasks?cursor={cursor}&type=double", "user"),
        (f"/v1/tasks?cursor={cursor}&status=queued", "user"),
        (f"/v1/tasks?cursor={cursor}", "other"),
        (f"/v1/tasks?cursor={cursor}", "admin"),
        (f"/v1/tasks?cursor={flipped}", "user"),
        (f"/v1/tasks?cursor={uuid4().hex}", "user"),
        ("/v1/tasks?cursor=%C3%A9", "user"),
        (f"/v1/account/statement?cursor={cursor}", "user"),
    ):
        answer = await api.get(query, as_)
        assert (query, answer.status_code, answer.json()["code"]) == (query, 400, "invalid_cursor")


async def test_a_task_for_later_is_not_claimed_and_the_estimate_knows(api: Api) -> None:
    later = api.service.clock.now() + timedelta(seconds=200)
    body = {"type": "double", "input": {"n": 1}, "not_before": later.isoformat()}

    answer = await api.post("/v1/tasks", body)

    assert answer.status_code == 202
    assert 190 <= int(answer.headers["retry-after"]) <= 206
    assert await api.claim() == []
