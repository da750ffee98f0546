"""Accounts, grants and statements over HTTP."""

from __future__ import annotations

from service.identifiers import new_id, public_id
from tests.integration.http.api import CREDITS, FINAL, PRICE, Api

GRANT = {"amount": 50, "kind": "paid", "source_ref": "invoice-1", "reason": "top-up"}


async def test_users_see_their_balance_and_what_is_used_of_their_limits(api: Api) -> None:
    await api.submit()
    await api.project()

    account = (await api.get("/v1/account")).json()

    assert account["id"] == api.account_id
    assert (account["granted"], account["available"]) == (CREDITS, CREDITS - PRICE)
    assert (account["held"], account["captured"], account["active"]) == (PRICE, 0, 1)
    assert account["limits"] == {
        "active_tasks": {"maximum": 10, "used": 1},
        "daily_tasks": {"maximum": 1_000, "used": 1},
    }


async def test_the_statement_links_every_movement_to_its_event_and_task(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "complete", claimed["token"], result={"n": 2})
    await api.project()

    lines = (await api.get("/v1/account/statement")).json()["items"]

    assert [line["kind"] for line in lines] == ["captured", "held", "granted"]
    assert [line["task_id"] for line in lines] == [task["id"], task["id"], None]
    assert [line["version"] for line in lines] == [4, 3, 2]
    assert [line["available"] for line in lines] == [CREDITS - PRICE, CREDITS - PRICE, CREDITS]
    history = (await api.get(f"/v1/tasks/{task['id']}/history")).json()["items"]
    positions = {entry["position"] for entry in history if entry["stream"] == "account"}
    assert {line["position"] for line in lines[:2]} == positions


async def test_pages_of_a_statement_add_up_in_both_orders(api: Api) -> None:
    for n in range(3):
        await api.submit(n)
    await api.project()

    for as_, path in (("user", "/v1/account"), ("admin", f"/v1/accounts/{api.account_id}")):
        for order, versions in (("newest", [5, 4, 3, 2]), ("oldest", [2, 3, 4, 5])):
            seen: list[int] = []
            page = f"{path}/statement?limit=2&order={order}"
            while page:
                answer = await api.get(page, as_)
                seen += [line["version"] for line in answer.json()["items"]]
                page = answer.links.get("next", {}).get("url", "")
            assert seen == versions


async def test_a_statement_can_be_cut_by_time(api: Api) -> None:
    await api.project()
    [granted] = (await api.get("/v1/account/statement")).json()["items"]
    at = granted["at"].replace("+", "%2B")

    assert (await api.get(f"/v1/account/statement?until={at}")).json()["items"] == []
    since = (await api.get(f"/v1/account/statement?since={at}")).json()["items"]
    assert since == [granted]


async def test_admins_open_accounts_and_grant_credits(api: Api) -> None:
    opened = await api.post(
        "/v1/accounts", {"plan": "standard", "name": "Studio", "reason": "contract 7"}, "admin"
    )
    account = opened.json()
    path = f"/v1/accounts/{account['id']}"

    granted = await api.post(f"{path}/grants", GRANT, "admin")
    again = await api.post(f"{path}/grants", GRANT, "admin")

    assert (opened.status_code, opened.headers["location"]) == (201, path)
    assert (account["name"], account["available"]) == ("Studio", 0)
    assert granted.status_code == again.status_code == 200
    assert granted.json()["available"] == again.json()["available"] == 50
    assert "idempotent-replayed" not in granted.headers
    assert again.headers["idempotent-replayed"] == "true"
    read = await api.get(path, "admin")
    assert (read.json(), read.headers["etag"]) == (again.json(), '"v2"')


async def test_an_account_is_opened_once_under_its_id(api: Api) -> None:
    body = {"plan": "standard", "id": public_id("acct", new_id()), "reason": "contract 7"}

    assert (await api.post("/v1/accounts", body, "admin")).json()["id"] == body["id"]
    again = await api.post("/v1/accounts", body, "admin")
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


NOBODY = "acct_" + 32 * "0"
"""Before which no list begins: it would be in none."""


async def test_bad_accounts_and_grants_are_refused(api: Api) -> None:
    grants = f"/v1/accounts/{api.account_id}/grants"
    for path, body, pointer in (
        ("/v1/accounts", {}, ""),
        ("/v1/accounts", {"plan": "standard"}, ""),
        ("/v1/accounts", {"plan": "standard", "reason": " "}, "/reason"),
        ("/v1/accounts", {"plan": "golden", "reason": "r"}, "/plan"),
        ("/v1/accounts", {"plan": "standard", "id": "7", "reason": "r"}, "/id"),
        ("/v1/accounts", {"plan": "standard", "id": NOBODY, "reason": "r"}, "/id"),
        ("/v1/accounts", {"plan": "standard", "name": "", "reason": "r"}, "/name"),
        (grants, GRANT | {"amount": 0}, "/amount"),
        (grants, GRANT | {"amount": 2**53}, "/amount"),
        (grants, GRANT | {"amount": 1.5}, "/amount"),
        (grants, GRANT | {"kind": "stolen"}, "/kind"),
        (grants, GRANT | {"source_ref": ""}, "/source_ref"),
        (grants, GRANT | {"reason": ""}, "/reason"),
        (grants, {n: v for n, v in GRANT.items() if n != "reason"}, ""),
        (grants, GRANT | {"priority": -1}, "/priority"),
    ):
        answer = await api.post(path, body, "admin")
        assert answer.status_code == 400, body
        assert answer.json()["errors"][0]["pointer"] == pointer, body
    assert await api.balance() == (CREDITS, 0, 0)


async def test_an_account_that_is_not_there_is_not_found(api: Api) -> None:
    for account_id in (public_id("acct", new_id()), "acct_1", public_id("task", api.account)):
        path = f"/v1/accounts/{account_id}"
        for answer in (
            await api.get(path, "admin"),
            await api.get(f"{path}/statement", "admin"),
            await api.post(f"{path}/grants", GRANT, "admin"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_accounts_are_listed_oldest_first(api: Api) -> None:
    first = (await api.get("/v1/accounts?limit=1", "admin")).json()
    rest = await api.get(f"/v1/accounts?limit=1&cursor={first['next_cursor']}", "admin")

    assert [a["id"] for a in first["items"]] == [api.account_id]
    assert [a["id"] for a in rest.json()["items"]] == [public_id("acct", api.other_account)]
    assert rest.json()["next_cursor"] is None


async def test_statistics_count_states_and_the_queue(api: Api) -> None:
    task = await api.submit()
    await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "fail", claimed["token"], failure=FINAL)
    await api.project()

    found = (await api.get("/v1/statistics?bucket=total", "admin")).json()

    counts = {(c["state"], c["failure_type"]): c["entered"] for c in found["counts"]}
    assert counts == {("queued", ""): 2, ("running", ""): 1, ("failed", "network"): 1}
    [figures] = found["types"]
    assert (figures["queued"], figures["started"], figures["failed"]) == (2, 1, 1)
    assert (figures["failure_rate"], figures["failures"]) == (1.0, {"network": 1})
    assert figures["wait"]["count"] == figures["run"]["count"] == 1
    [queue] = found["queue"]
    assert (queue["type"], queue["waiting"], queue["active"]) == ("double", 1, 0)


async def test_statistics_can_be_asked_for_by_state_and_type(api: Api) -> None:
    await api.submit()
    await api.claim()
    await api.project()

    found = (await api.get("/v1/statistics?bucket=total&status=running", "admin")).json()
    none = (await api.get("/v1/statistics?bucket=total&type=other", "admin")).json()

    assert [c["state"] for c in found["counts"]] == ["running"]
    assert [t["queued"] for t in found["types"]] == [1]
    assert (none["counts"], none["types"], none["queue"]) == ([], [], [])


async def test_a_span_of_statistics_that_is_none_is_refused(api: Api) -> None:
    for query in (
        "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
        "since=2020-01-01T00:00:00Z&until=2026-01-01T00:00:00Z",
        "bucket=week",
    ):
        answer = await api.get(f"/v1/statistics?{query}", "admin")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


async def test_task_types_are_listed_with_price_and_schema(api: Api) -> None:
    for as_ in ("user", "worker", "admin"):
        found = {t["name"]: t for t in (await api.get("/v1/task-types", as_)).json()["items"]}
        assert found["double"]["price_credits"] == PRICE
        assert found["double"]["stages"] == {"half": 50}
        properties = found["double"]["input_schema"]["$defs"]["Numbers"]["properties"]
        assert properties["n"] == {"type": "integer"}

    names = []
    path = "/v1/task-types?limit=1"
    while path:
        page = await api.get(path)
        names += [t["name"] for t in page.json()["items"]]
        path = page.links.get("next", {}).get("url", "")
    assert names == sorted(found)
