"""Statements as CSV and by period over HTTP."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

from domain.errors import Unavailable
from service.http import statements
from service.identifiers import new_id, public_id
from tests.integration.http.api import CREDITS, PRICE, Api

HOSTILE = '=HYPERLINK("http://x";"a, b")\r\n\u202e"'


def _rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv"
    assert "content-length" not in answer.headers
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def _paths(api: Api) -> tuple[tuple[str, str], ...]:
    return ("/v1/account", "user"), (f"/v1/accounts/{api.account_id}", "admin")


async def _spent(api: Api) -> None:
    task = await api.submit()
    [claimed] = await api.claim()
    await api.work(task["id"], "complete", claimed["token"], result={"n": 2})
    await api.submit()
    await api.project()


async def test_the_csv_has_the_lines_of_the_pages(api: Api) -> None:
    await _spent(api)
    for path, as_ in _paths(api):
        for order in ("oldest", "newest"):
            pages = (await api.get(f"{path}/statement?order={order}", as_)).json()["items"]
            rows = _rows(await api.get(f"{path}/statement.csv?order={order}", as_))
            assert len(rows) == len(pages) == 4
            for row, line in zip(rows, pages, strict=True):
                at = line.pop("at")
                assert row.pop("at").startswith(at.rstrip("Z"))
                assert row == {name: str(line[name] or "") or row[name] for name in row}
                assert {n for n, v in row.items() if not v} == {
                    name for name, value in line.items() if value is None or value == ""
                }


async def test_hostile_texts_are_harmless_cells(api: Api) -> None:
    grant = {"amount": 1, "kind": "paid", "source_ref": "@me", "reason": HOSTILE}
    granted = await api.post(f"/v1/accounts/{api.account_id}/grants", grant, "admin")
    assert granted.status_code == 200
    await api.project()
    last = _rows(await api.get("/v1/account/statement.csv"))[-1]
    assert (last["reason"], last["source_ref"]) == ("'" + HOSTILE, "'@me")


async def test_a_period_has_its_opening_its_totals_and_its_closing(api: Api) -> None:
    await _spent(api)
    lines = (await api.get("/v1/account/statement?order=oldest")).json()["items"]
    held = lines[1]["at"].replace("+", "%2B")
    for path, as_ in _paths(api):
        path = f"{path}/statement/summary"  # noqa: PLW2901
        whole = (await api.get(path, as_)).json()
        assert whole["opening"] == {"available": 0, "held": 0}
        assert whole["closing"] == {"available": CREDITS - 2 * PRICE, "held": PRICE}
        assert [(t["kind"], t["lines"], t["amount"]) for t in whole["totals"]] == [
            ("captured", 1, PRICE),
            ("granted", 1, CREDITS),
            ("held", 2, 2 * PRICE),
        ]
        first = (await api.get(f"{path}?until={held}", as_)).json()
        second = (await api.get(f"{path}?since={held}", as_)).json()
        assert first["closing"] == second["opening"] == {"available": CREDITS, "held": 0}
        assert second["closing"] == whole["closing"]
        assert [t["kind"] for t in second["totals"]] == ["captured", "held"]
        month = f"{api.service.clock.now():%Y-%m}"
        by_month = (await api.get(f"{path}?period={month}", as_)).json()
        assert by_month["since"] == f"{month}-01T00:00:00Z"
        assert (by_month["totals"], by_month["closing"]) == (whole["totals"], whole["closing"])
        earlier = (await api.get(f"{path}?period=2020-12", as_)).json()
        assert (earlier["until"], earlier["totals"]) == ("2021-01-01T00:00:00Z", [])


async def test_a_month_cuts_pages_and_csv_alike(api: Api) -> None:
    await _spent(api)
    for month, number in ((f"{api.service.clock.now():%Y-%m}", 4), ("2020-12", 0)):
        pages = (await api.get(f"/v1/account/statement?period={month}")).json()["items"]
        rows = _rows(await api.get(f"/v1/account/statement.csv?period={month}"))
        assert len(pages) == len(rows) == number


async def test_a_span_that_ends_before_it_begins_is_refused_in_one_way(api: Api) -> None:
    kinds = ("statement", "statement.csv", "statement/summary")
    asked = [(f"{path}/{kind}", as_) for path, as_ in _paths(api) for kind in kinds]
    for path, as_ in (*asked, ("/v1/statistics", "admin"), ("/v1/books/totals", "admin")):
        time = "" if "books" in path else "T00:00:00Z"
        answer = await api.get(f"{path}?since=2026-02-01{time}&until=2026-01-31{time}", as_)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "invalid_input"), path
        told = {"detail": "must not be after until", "parameter": "since"}
        assert problem["errors"] == [told], path


async def test_a_summary_up_to_before_the_account_was_there_is_of_nothing(api: Api) -> None:
    for path, as_ in _paths(api):
        early = await api.get(f"{path}/statement/summary?until=2000-01-01T00:00:00Z", as_)
        found = early.json()
        assert (early.status_code, found["totals"]) == (200, [])
        assert found["opening"]["available"] == found["closing"]["available"] == 0


async def test_bad_periods_are_refused(api: Api) -> None:
    for query in (
        *("period=2026-13", "period=26-01", "period=9999-12", "period=now"),
        *("period=2026-01&since=2026-01-01T00:00:00Z", "period=2026-01&until=2026-01-01T00:00:00Z"),
    ):
        for path, as_ in _paths(api):
            for kind in ("statement", "statement.csv", "statement/summary"):
                answer = await api.get(f"{path}/{kind}?{query}", as_)
                assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    nobody = f"/v1/accounts/{public_id('acct', new_id())}"
    for kind in ("statement.csv", "statement/summary"):
        assert (await api.get(f"{nobody}/{kind}", "admin")).status_code == 404


async def test_a_csv_that_is_broken_off_does_not_look_whole(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        yield b"position\r\n"
        raise Unavailable("the database went away")

    monkeypatch.setattr(statements, "csv_of", broken)
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        await api.get("/v1/account/statement.csv")
