"""Retrying failed tasks in bulk over HTTP: the preview, what fits, what is refused, and once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from click.testing import CliRunner

from service.cli.program import tallystick
from service.identifiers import new_id, public_id
from tallystick.client import AsyncClient, Client
from tallystick.errors import InvalidArgument
from tests.integration.http.api import CREDITS, PRICE, Api

LATER = timedelta(days=1)


async def fail(
    api: Api, count: int, as_: str = "user", type_: str = "network", **more: Any
) -> list[str]:
    """Ids of so many tasks that failed, in the order in which they did."""
    ids = []
    for n in range(count):
        task = await api.submit(n, as_, **more)
        [claimed] = await api.claim()
        failure = {"type": type_, "retryable": False}
        answer = await api.work(claimed["id"], "fail", claimed["token"], failure=failure)
        assert (answer.status_code, claimed["id"]) == (200, task["id"])
        ids.append(task["id"])
    return ids


async def retries(api: Api, as_: str = "user", **body: Any) -> dict[str, Any]:
    answer = await api.post("/v1/tasks/retries", body, as_)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def status_of(api: Api, task_id: str, as_: str = "user") -> str:
    return str((await api.get(f"/v1/tasks/{task_id}", as_)).json()["status"])


async def test_a_preview_tells_what_the_retry_then_does_and_does_nothing(api: Api) -> None:
    ids = await fail(api, 3)
    head = await api.service.log.head()

    before = await retries(api, filter={}, preview=True)

    assert (before["preview"], before["matched"], before["more"]) == (True, 3, False)
    assert (before["credits_needed"], before["credits_held"]) == (3 * PRICE, 3 * PRICE)
    assert before["available"] == CREDITS
    assert (before["retried"], before["refused"]) == (ids, [])
    assert await api.service.log.head() == head
    assert await api.balance() == (CREDITS, 0, 0)

    after = await retries(api, filter={})

    assert after == before | {"preview": False}
    assert await api.balance() == (CREDITS - 3 * PRICE, 3 * PRICE, 0)
    for task_id in ids:
        task = (await api.get(f"/v1/tasks/{task_id}")).json()
        assert (task["status"], task["run"], task["credits"]["held"]) == ("queued", 2, PRICE)


async def test_all_of_it_is_one_append(api: Api) -> None:
    await fail(api, 3)
    await retries(api, filter={})
    with psycopg.connect(api.service.dsn) as connection:
        rows = connection.execute(
            "SELECT xmin::text FROM tallystick_events ORDER BY notification_id DESC LIMIT 6"
        ).fetchall()
    assert len(set(rows)) == 1


async def test_what_the_credits_allow_is_retried_the_first_to_fail_first(api: Api) -> None:
    account = new_id()
    await api.open_account(account, funds=2 * PRICE)
    poor = await api.key_of(account)
    ids = await fail(api, 3, poor)

    for preview in (True, False):
        told = await retries(api, poor, filter={}, preview=preview)
        assert told["retried"] == ids[:2]
        assert [(one["id"], one["code"]) for one in told["refused"]] == [
            (ids[2], "insufficient_credits")
        ]
        assert (told["credits_needed"], told["credits_held"]) == (3 * PRICE, 2 * PRICE)
    assert await api.balance(account) == (0, 2 * PRICE, 0)
    assert await status_of(api, ids[2], poor) == "failed"


async def test_the_plans_limit_holds(api: Api) -> None:
    ids = await fail(api, 3)
    for n in range(9):
        await api.submit(n)

    told = await retries(api, filter={})

    assert told["retried"] == ids[:1]
    assert {one["code"] for one in told["refused"]} == {"limit_reached"}


async def test_the_filter_picks_by_type_project_failure_and_time(api: Api) -> None:
    one = (await fail(api, 1, project="a"))[0]
    two = (await fail(api, 1, type_="timeout", project="b"))[0]
    three = (await fail(api, 1, type_="storage"))[0]
    at = (await api.get(f"/v1/tasks/{two}")).json()["ended_at"]
    future = (api.service.clock.now() + LATER).isoformat()
    for wanted, found in (
        ({}, [one, two, three]),
        ({"type": ["double"]}, [one, two, three]),
        ({"type": ["triple"]}, []),
        ({"project": "a"}, [one]),
        ({"failure_type": ["network"]}, [one]),
        ({"failure_type": ["timeout", "storage"]}, [two, three]),
        ({"failure_type": ["network"], "project": "b"}, []),
        ({"failed_after": at}, [three]),
        ({"failed_before": at}, [one]),
        ({"failed_after": future}, []),
    ):
        told = await retries(api, filter=wanted, preview=True)
        assert (wanted, told["retried"]) == (wanted, found)


async def test_no_more_than_asked_for_and_it_says_that_there_are_others(api: Api) -> None:
    ids = await fail(api, 3)
    told = await retries(api, filter={}, tasks_max=2)
    assert (told["matched"], told["more"], told["retried"]) == (2, True, ids[:2])
    rest = await retries(api, filter={}, tasks_max=2)
    assert (rest["matched"], rest["more"], rest["retried"]) == (1, False, ids[2:])


async def test_named_tasks_are_each_answered_for(api: Api) -> None:
    failed = await fail(api, 2)
    theirs = (await fail(api, 1, "other"))[0]
    queued = (await api.submit())["id"]
    unknown = public_id("task", new_id())

    told = await retries(api, tasks=[failed[1], theirs, queued, unknown, failed[1]])

    assert told["retried"] == [failed[1]]
    assert [(one["id"], one["code"]) for one in told["refused"]] == [
        (theirs, "not_found"),
        (queued, "illegal_transition"),
        (unknown, "not_found"),
    ]
    twice = await retries(api, tasks=[failed[0], failed[0]], tasks_max=1, preview=True)
    assert (twice["matched"], twice["more"]) == (1, False)
    assert await status_of(api, theirs, "other") == "failed"
    assert await status_of(api, failed[0]) == "failed"


async def test_a_user_retries_their_own_and_an_admin_those_of_an_account(api: Api) -> None:
    mine, theirs = await fail(api, 1), await fail(api, 1, "other")
    other = public_id("acct", api.other_account)

    foreign = await api.post("/v1/tasks/retries", {"filter": {}, "account_id": other})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")
    nobodys = await api.post("/v1/tasks/retries", {"filter": {}}, "admin")
    assert [e["pointer"] for e in nobodys.json()["errors"]] == ["/account_id"]
    told = await retries(api, "admin", filter={}, account_id=other)
    assert told["retried"] == theirs
    assert await status_of(api, mine[0]) == "failed"
    missing = {"filter": {}, "account_id": public_id("acct", new_id())}
    assert (await api.post("/v1/tasks/retries", missing, "admin")).status_code == 404


async def test_sent_again_it_retries_nothing_more(api: Api) -> None:
    ids = await fail(api, 1)
    first = await api.post("/v1/tasks/retries", {"filter": {}}, idempotency_key="k")
    await api.post(f"/v1/tasks/{ids[0]}/cancel")
    more = await fail(api, 1)

    again = await api.post("/v1/tasks/retries", {"filter": {}}, idempotency_key="k")

    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert await status_of(api, more[0]) == "failed"
    other = await api.post(
        "/v1/tasks/retries", {"filter": {}, "preview": True}, idempotency_key="k"
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_two_at_once_retry_each_task_once(api: Api, second_api: Api) -> None:
    ids = await fail(api, 5)
    second_api.secrets["user"] = api.secrets["user"]
    told = await asyncio.gather(
        *(retries(one, filter={}) for one in (api, second_api, api, second_api))
    )
    assert sorted(done for one in told for done in one["retried"]) == sorted(ids)
    assert await api.balance() == (CREDITS - 5 * PRICE, 5 * PRICE, 0)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/filter"),
        ({"filter": {}, "tasks": ["task_" + "0" * 32]}, "/filter"),
        ({"filter": {"failure_type": ["bad luck"]}}, "/filter/failure_type/0"),
        ({"filter": {"type": ["x"] * 51}}, "/filter/type"),
        ({"filter": {"kind": "x"}}, "/filter"),
        ({"filter": {}, "tasks_max": 0}, "/tasks_max"),
        ({"filter": {}, "tasks_max": 1_001}, "/tasks_max"),
        ({"tasks": ["task_" + "0" * 32] * 1_001}, "/tasks"),
        ({"tasks": ["acct_" + "0" * 32]}, "/tasks/0"),
        ({"filter": {"failed_after": "2026-01-01T00:00:00"}}, "/filter/failed_after"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_bad_request_is_refused_by_pointer(
    api: Api, body: dict[str, object], pointer: str
) -> None:
    answer = await api.post("/v1/tasks/retries", body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "invalid_input")
    assert [error["pointer"].rstrip("/0") for error in problem["errors"]] == [pointer.rstrip("/0")]


async def test_clients_and_command_line_preview_and_retry(api: Api) -> None:
    ids = await fail(api, 3)
    seen = await _command(api, "--failure-type", "network", "--preview")
    assert "would be retried  3" in seen
    assert f"credits to hold   {3 * PRICE}" in seen

    def work() -> Any:
        with Client(api.url, api.secrets["user"]) as client:
            with pytest.raises(InvalidArgument):
                client.retry_failed(ids, project="a")
            return client.retry_failed(ids[:1])

    assert (await asyncio.to_thread(work)).retried == (ids[0],)
    async with AsyncClient(api.url, api.secrets["user"]) as client:
        told = await client.retry_failed(type=["double"], tasks_max=1)
    assert (told.retried, told.more) == ((ids[1],), True)
    done = msgspec.json.decode(await _command(api, "--json"))
    assert (done["retried"], done["preview"]) == ([ids[2]], False)


async def _command(api: Api, *arguments: str) -> str:
    words = ["task", "retry-failed", *arguments, "--url", api.url]
    options = ["--api-key", api.secrets["user"]]
    done = await asyncio.to_thread(CliRunner().invoke, tallystick, [*words, *options])
    assert done.exit_code == 0, done.output
    return done.output
