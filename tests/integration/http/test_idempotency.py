"""`Idempotency-Key`: one effect, one answer, whoever sends it how often."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import pytest
from httpx import AsyncClient, Response

from adapters.decision import Committed, Decision
from adapters.idempotency_keys import delete_expired_keys
from adapters.pool import fetch
from service.identifiers import new_id
from tests.integration.http.api import CREDITS, PRICE, Api

BODY = {"type": "double", "input": {"n": 1}}
CLIENTS = 40
"""At one time: more would wait for a connection."""


async def test_the_same_request_again_gets_the_same_answer_and_has_one_effect(api: Api) -> None:
    first = await api.post("/v1/tasks", BODY, idempotency_key='"a key"')
    again = await api.post("/v1/tasks", BODY, idempotency_key='"a key"')

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert await api.balance() == (CREDITS - PRICE, PRICE, 0)


async def test_the_answer_stays_when_the_task_has_moved_on(api: Api) -> None:
    first = await api.post("/v1/tasks", BODY, idempotency_key="k")
    await api.post(f"{first.headers['location']}/cancel")

    again = await api.post("/v1/tasks", BODY, idempotency_key="k")

    assert again.content == first.content


async def test_a_quoted_and_a_bare_key_are_the_same(api: Api) -> None:
    first = await api.post("/v1/tasks", BODY, idempotency_key="k-1")
    again = await api.post("/v1/tasks", BODY, idempotency_key='"k-1"')

    assert again.content == first.content


async def test_a_key_with_another_body_is_refused(api: Api) -> None:
    await api.post("/v1/tasks", BODY, idempotency_key="k")

    answer = await api.post("/v1/tasks", BODY | {"project": "x"}, idempotency_key="k")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await api.balance() == (CREDITS - PRICE, PRICE, 0)


async def test_a_key_is_the_senders_own_and_the_routes_own(api: Api) -> None:
    mine = (await api.post("/v1/tasks", BODY, idempotency_key="k")).json()
    others = (await api.post("/v1/tasks", BODY, "other", idempotency_key="k")).json()
    assert mine["id"] != others["id"]
    second = await api.submit()

    for task_id in (mine["id"], second["id"]):
        answer = await api.post(f"/v1/tasks/{task_id}/cancel", idempotency_key="k")
        assert (answer.status_code, answer.json()["id"]) == (200, task_id)


async def test_two_keys_of_one_account_share_their_idempotency_keys(api: Api) -> None:
    """So that a key can be rotated between a request and its repetition."""
    first = await api.post("/v1/tasks", BODY, idempotency_key="k")

    again = await api.post("/v1/tasks", BODY, await api.key_of(api.account), idempotency_key="k")

    assert again.content == first.content


@pytest.mark.parametrize("key", ["", '""', '"open', "a b", "é", "x" * 256, '"' + "x" * 256 + '"'])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    headers = {
        "authorization": f"Bearer {api.secrets['user']}",
        "idempotency-key": key.encode("latin-1"),
    }

    answer = await api.client.post("/v1/tasks", json=BODY, headers=headers)  # type: ignore[arg-type]

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert answer.json()["errors"][0]["header"] == "Idempotency-Key"


async def test_the_longest_key_is_taken(api: Api) -> None:
    answer = await api.post("/v1/tasks", BODY, idempotency_key="x" * 255)

    assert answer.status_code == 202


async def test_refusals_are_not_kept(api: Api) -> None:
    bad = await api.post("/v1/tasks", {"type": "double"}, idempotency_key="k")
    unpaid = await api.post(
        f"/v1/accounts/{api.account_id}/grants", {"amount": 0}, "admin", idempotency_key="k"
    )
    for n in range(10):
        await api.submit(n)
    limited = await api.post("/v1/tasks", BODY, idempotency_key="k")
    assert (bad.status_code, unpaid.status_code, limited.status_code) == (400, 400, 429)
    [task, *_] = (await api.get("/v1/tasks")).json()["items"]
    await api.post(f"/v1/tasks/{task['id']}/cancel")

    answer = await api.post("/v1/tasks", BODY, idempotency_key="k")

    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers


async def test_a_replay_needs_neither_credits_nor_room(api: Api) -> None:
    first = await api.post("/v1/tasks", BODY, idempotency_key="k")
    for n in range(9):
        await api.submit(n)

    again = await api.post("/v1/tasks", BODY, idempotency_key="k")

    assert again.content == first.content


async def test_a_replay_of_a_conditional_command_is_not_refused_as_stale(api: Api) -> None:
    task = await api.submit()
    path = f"/v1/tasks/{task['id']}/cancel"

    first = await api.post(path, idempotency_key="k", if_match='"v1"')
    again = await api.post(path, idempotency_key="k", if_match='"v1"')

    assert (first.status_code, again.content) == (200, first.content)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("keys", "sends"), [(20, 10), pytest.param(1_000, 20, marks=pytest.mark.nightly)]
)
async def test_parallel_sends_have_one_effect_and_every_answer_is_that_one_or_in_flight(
    api: Api, second_api: Api, keys: int, sends: int
) -> None:
    """QUALITY 11, through two processes' routes: then each key is refused for another body."""
    account = new_id()
    await api.open_account(account, plan="unlimited", funds=keys * PRICE)
    headers = {"authorization": f"Bearer {api.secrets[await api.key_of(account)]}"}
    clients = [
        AsyncClient(base_url=one.url, timeout=60, verify=False)  # noqa: S501 - no TLS here
        for one in (api, second_api)
    ]
    turns = asyncio.Semaphore(CLIENTS)

    async def send(number: int, key: int, n: int) -> Response:
        body = {"type": "double", "input": {"n": n}}
        async with turns:
            return await clients[number % 2].post(
                "/v1/tasks", json=body, headers=headers | {"idempotency-key": f"k{key}"}
            )

    bodies: defaultdict[int, set[bytes]] = defaultdict(set)
    begun: Counter[int] = Counter()

    async def begin(number: int) -> None:
        key = number // sends
        answer = await send(number, key, key)
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_key_in_flight"
            assert answer.headers["retry-after"] == "1"
            return
        assert answer.status_code == 202, answer.text
        bodies[key].add(answer.content)
        begun[key] += "idempotent-replayed" not in answer.headers

    await asyncio.gather(*(begin(number) for number in range(keys * sends)))

    assert (len(bodies), {len(told) for told in bodies.values()}) == (keys, {1})
    assert (len(begun), set(begun.values())) == (keys, {1})
    changed = await asyncio.gather(*(send(key, key, key + 1) for key in range(keys)))
    assert {(a.status_code, a.json()["code"]) for a in changed} == {(422, "idempotency_key_reused")}
    assert await api.balance(account) == (0, keys * PRICE, 0)
    for client in clients:
        await client.aclose()


async def test_while_the_first_request_is_under_way_the_second_is_told_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, reached, go_on = api.service.committer.execute, asyncio.Event(), asyncio.Event()

    async def held_up(decision: Decision) -> Committed:
        reached.set()
        await go_on.wait()
        return await execute(decision)

    monkeypatch.setattr(api.service.committer, "execute", held_up)
    first = asyncio.create_task(api.post("/v1/tasks", BODY, idempotency_key="k"))
    await reached.wait()

    second = await api.post("/v1/tasks", BODY, idempotency_key="k")

    go_on.set()
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_in_flight")
    assert second.headers["retry-after"] == "1"
    assert (await first).status_code == 202
    third = await api.post("/v1/tasks", BODY, idempotency_key="k")
    assert third.content == (await first).content


async def test_two_processes_give_the_same_answer(api: Api, second_api: Api) -> None:
    for n in range(5):
        body = {"type": "double", "input": {"n": n}}
        headers = {"authorization": f"Bearer {api.secrets['user']}", "idempotency-key": f"p{n}"}
        first, second = await asyncio.gather(
            api.client.post("/v1/tasks", json=body, headers=headers),
            second_api.client.post("/v1/tasks", json=body, headers=headers),
        )
        assert first.status_code == second.status_code == 202
        assert first.content == second.content
    assert await api.balance() == (CREDITS - 5 * PRICE, 5 * PRICE, 0)


async def test_keys_are_forgotten_after_their_days_and_not_before(api: Api) -> None:
    first = await api.post("/v1/tasks", BODY, idempotency_key="k")
    days = api.service.settings.idempotency_days
    assert await delete_expired_keys(api.service.pool, days=days, limit=10) == 0
    age = "UPDATE idempotency_keys SET created_at = created_at - make_interval(days => %(days)s)"
    await fetch(api.service.pool, age + " RETURNING key", {"days": days})

    assert await delete_expired_keys(api.service.pool, days=days, limit=10) == 1
    again = await api.post("/v1/tasks", BODY, idempotency_key="k")
    assert again.json()["id"] != first.json()["id"]
