"""The history of an account tells of every fact who did it and why; statements lead there."""

from __future__ import annotations

from typing import Any

from service.identifiers import new_id, public_id
from tests.integration.http.api import Api


async def _eventful(api: Api) -> str:
    """The path of an account that was frozen, granted to, held on and charged."""
    path = f"/v1/accounts/{api.account_id}"
    for verb, body in (
        ("freeze", {"reason": "charge disputed"}),
        ("unfreeze", {"reason": "dispute settled"}),
        ("grants", {"amount": 7, "kind": "promotional", "source_ref": "s", "reason": "sorry"}),
        ("books", {"period": "2025-12", "reason": "end of the year"}),
    ):
        answer = await api.post(f"{path}/{verb}", body, "admin")
        assert answer.status_code == 200, answer.text
    await api.submit()
    await api.project()
    return path


async def _history(api: Api, path: str, query: str = "") -> dict[str, Any]:
    answer = await api.get(f"{path}/history?{query}", "admin")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def test_who_did_what_to_an_account_and_why_is_told_newest_first(api: Api) -> None:
    items = (await _history(api, await _eventful(api)))["items"]
    assert [item["type"] for item in items] == [
        *("credits.held", "books.closed", "credits.granted"),
        *("account.unfrozen", "account.frozen", "credits.granted", "account.opened"),
    ]
    assert [item["version"] for item in items] == [7, 6, 5, 4, 3, 2, 1]
    told = {item["version"]: item["data"].get("reason") for item in items}
    assert (told[6], told[5], told[3]) == ("end of the year", "sorry", "charge disputed")
    actors = {item["version"]: item["actor"] for item in items}
    assert actors[7] == api.account_id
    assert actors[3] == actors[5] == actors[6] != actors[7]
    assert actors[3].startswith("key_")
    assert "grants" not in items[1]["data"], "what the account was then is told by `?at=`"


async def test_each_line_of_the_statement_leads_to_its_fact(api: Api) -> None:
    path = await _eventful(api)
    lines = (await api.get(f"{path}/statement", "admin")).json()["items"]
    assert len(lines) == 3
    for line in lines:
        page = await _history(api, path, f"version={line['version']}")
        [fact] = page["items"]
        assert not page["has_more"]
        assert (fact["version"], fact["position"]) == (line["version"], line["position"])
        assert fact["data"]["amount"] == line["amount"]
        assert fact["type"] == f"credits.{line['kind']}"
    assert (await _history(api, path, "version=8"))["items"] == []


async def test_the_pages_of_a_history_add_up(api: Api) -> None:
    path = await _eventful(api)
    whole = (await _history(api, path))["items"]
    for limit in (1, 3, len(whole)):
        page = await _history(api, path, f"limit={limit}")
        items = page["items"]
        while page["has_more"]:
            page = await _history(api, path, f"limit={limit}&cursor={page['next_cursor']}")
            items += page["items"]
        assert items == whole


async def test_an_account_that_is_not_there_has_no_history(api: Api) -> None:
    answer = await api.get(f"/v1/accounts/{public_id('acct', new_id())}/history", "admin")
    assert answer.status_code == 404
    assert (await api.get(f"/v1/accounts/{api.account_id}/history")).status_code == 403
