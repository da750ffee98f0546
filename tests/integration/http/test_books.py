"""The trial balance and the totals of the books over HTTP."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from tests.integration.http.api import CREDITS, PRICE, Api


async def _done(api: Api) -> None:
    """Two tasks, of which one is done and charged."""
    task = await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "complete", claimed["token"], result={"n": 2})
    await api.submit()


async def test_admins_read_a_trial_balance_that_proves_the_books(api: Api) -> None:
    await _done(api)
    for _ in range(2):
        found = (await api.get("/v1/books/trial-balance", "admin")).json()
        balances = {line["account"]: line["balance"] for line in found["accounts"]}
        assert balances["granted_paid"] == 2 * CREDITS
        assert (balances["held"], balances["revenue"]) == (PRICE, PRICE)
        assert balances["available"] == 2 * CREDITS - 2 * PRICE
        assert found["balanced"]
        assert found["debits"] == found["credits"] == 2 * CREDITS + 3 * PRICE
        assert found["position"] == found["head"]
        customers = found["customers"]
        assert (customers["compared"], customers["differing"]) == (2, 0)
        assert customers["equal"]
        assert customers["posted"]
        await api.project()


async def test_the_books_of_an_earlier_day_are_empty_and_those_of_today_are_not(api: Api) -> None:
    today = api.service.clock.now().astimezone(UTC).date()
    for days, debits in ((1, 0), (0, 2 * CREDITS)):
        path = f"/v1/books/trial-balance?day={today - timedelta(days=days)}"
        found = (await api.get(path, "admin")).json()
        assert (found["debits"], found["credits"], found["customers"]) == (debits, debits, None)


async def test_totals_tell_what_each_type_of_task_brought_in(api: Api) -> None:
    await _done(api)
    await api.project()
    for bucket in ("day", "month", "total"):
        found = (await api.get(f"/v1/books/totals?bucket={bucket}", "admin")).json()
        totals: dict[Any, Any] = {
            (one["account"], one["task_type"]): (one["debits"], one["credits"])
            for one in found["items"]
        }
        assert totals["revenue", "double"] == (0, PRICE)
        assert totals["held", "double"] == (PRICE, 2 * PRICE)
        assert totals["granted_paid", ""] == (2 * CREDITS, 0)
    today = api.service.clock.now().astimezone(UTC).date()
    yesterday = f"/v1/books/totals?since={today - timedelta(days=1)}&until={today}"
    assert (await api.get(yesterday, "admin")).json()["items"] == []


async def test_bad_days_are_refused(api: Api) -> None:
    for path in (
        "trial-balance?day=yesterday",
        "trial-balance?day=9999-12-31",
        "totals?since=2026-02-02&until=2026-02-02",
        "totals?since=1990-01-01&until=2026-01-01",
        "totals?until=0001-01-01",
        "totals?bucket=week",
    ):
        answer = await api.get(f"/v1/books/{path}", "admin")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), path
