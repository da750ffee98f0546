"""The history of a task and its money, as the log has it, to each reader their own."""

from __future__ import annotations

from tests.integration.http.api import PRICE, Api


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
    failure = {"type": "model_error", "detail": "stack trace"}
    await api.work(task["id"], "fail", claimed["token"], failure=failure)
    path = f"/v1/tasks/{task['id']}/history"

    users, operators = (await api.get(path)).text, (await api.get(path, "admin")).text

    assert "stack trace" in operators
    assert '"worker":"w1"' in operators
    assert "stack trace" not in users
    assert "w1" not in users


async def test_history_comes_in_pages_that_add_up(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "fail", claimed["token"], failure={"type": "param_error"})
    await api.post(f"/v1/tasks/{task['id']}/retry")
    whole = (await api.get(f"/v1/tasks/{task['id']}/history")).json()["items"]

    pages, path = [], f"/v1/tasks/{task['id']}/history?limit=1"
    while path:
        page = await api.get(path)
        pages += page.json()["items"]
        path = page.links.get("next", {}).get("url", "")

    assert pages == whole
    assert len(whole) == 7
