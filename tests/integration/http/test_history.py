"""The history of a task and its money, as the log has it, to each reader their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from adapters.decision import States
from adapters.pool import fetch
from domain import ledger
from domain.aggregate import LEDGERS, Stream
from domain.event import Event, Metadata
from domain.ledger import GrantCredits
from service.command import Origin
from service.identifiers import new_id
from tests.integration.http.api import FINAL, PRICE, Api


async def test_history_tells_the_task_and_its_money_in_the_order_of_the_log(api: Api) -> None:
    task = await api.submit()
    other = await api.submit()
    [first, _] = await api.claim(limit=2)
    await api.work(first["id"], "stage", first["token"], stage="half")
    await api.work(first["id"], "complete", first["token"], result={"n": 2})
    assert first["id"] == task["id"]

    page = (await api.get(f"/v1/tasks/{task['id']}/history")).json()

    facts = [(e["type"], e["version"]) for e in page["items"] if e["stream"] == "task"]
    names = ("submitted", "started", "stage_reached", "completed")
    assert facts == [(f"task.{name}", version) for version, name in enumerate(names, start=1)]
    money = [e for e in page["items"] if e["stream"] == "account"]
    assert [e["type"] for e in money] == ["credits.held", "credits.captured"]
    assert {e["data"]["task_id"] for e in money} == {task["id"]} != {other["id"]}
    assert [e["data"]["amount"] for e in money] == [PRICE, PRICE]
    positions = [e["position"] for e in page["items"]]
    assert positions == sorted(positions)
    assert {e["actor"] for e in page["items"]} == {api.account_id, "service"}


async def test_history_shows_operators_more_than_users(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    failure = {"type": "network", "detail": "stack trace"}
    await api.work(task["id"], "fail", claimed["token"], failure=failure)
    await api.post(f"/v1/tasks/{task['id']}/cancel")
    ended = await api.submit()
    [claimed] = await api.claim()
    await api.work(ended["id"], "fail", claimed["token"], failure=failure | FINAL)
    await _operators_see_more(api, task["id"])
    await _operators_see_more(api, ended["id"])


async def _operators_see_more(api: Api, task_id: str) -> None:
    path = f"/v1/tasks/{task_id}/history"

    users, operators = (await api.get(path)).text, (await api.get(path, "admin")).text

    assert "stack trace" in operators
    assert '"worker":"w1"' in operators
    assert "stack trace" not in users
    assert "w1" not in users


async def test_history_comes_in_pages_that_add_up(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "fail", claimed["token"], failure=FINAL)
    await api.post(f"/v1/tasks/{task['id']}/retry")
    whole = (await api.get(f"/v1/tasks/{task['id']}/history")).json()["items"]

    pages, path = [], f"/v1/tasks/{task['id']}/history?limit=1"
    while path:
        page = await api.get(path)
        pages += page.json()["items"]
        path = page.links.get("next", {}).get("url", "")

    assert pages == whole
    assert len(whole) == 7


def _granted(
    account_id: UUID, grant: GrantCredits, states: States, meta: Metadata
) -> Sequence[Event]:
    return ledger.decide(states[account_id], grant, meta)


async def test_money_is_told_also_where_time_had_to_be_settled_before_it(api: Api) -> None:
    """Between the task's end and its charge stands, in one event, that other credits expired."""
    task = await api.submit()
    [claimed] = await api.claim()
    pool = api.service.pool
    [(now,)] = await fetch(pool, "SELECT clock_timestamp()", {})
    passing = [
        GrantCredits(
            grant_id=new_id(),
            kind="promotional",
            amount=1,
            source_ref=f"passing {number}",
            expires_at=now + timedelta(milliseconds=200),
        )
        for number in range(3)
    ]
    for grant in passing:
        await api.service.bus.execute(
            partial(_granted, api.account, grant),
            Origin(actor="test"),
            streams=(Stream(LEDGERS, api.account),),
        )
    await fetch(pool, "SELECT pg_sleep(0.3)", {})
    await api.work(task["id"], "complete", claimed["token"], result={"n": 2})

    items = (await api.get(f"/v1/tasks/{task['id']}/history")).json()["items"]

    assert [entry["type"] for entry in items][-2:] == ["task.completed", "credits.captured"]
    assert items[-1]["position"] == items[-2]["position"] + 2
