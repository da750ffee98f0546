"""What time brings is in every answer, though no sweep has run; and it reaches the owner."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg

from domain import ledger
from domain.ledger import HoldCredits
from domain.plan import Plan
from service.identifiers import new_id, public_id
from service.ledgers import Asked
from tests.integration.http.api import CREDITS, SETUP, Api
from tests.integration.http.sse import listening

Document = dict[str, Any]


async def _dated(api: Api) -> None:
    """30 credits and a hold of 20 of them, both gone in a moment of the database's clock."""
    async with await psycopg.AsyncConnection.connect(api.service.dsn) as connection:
        cursor = await connection.execute("SELECT clock_timestamp()")
        row = await cursor.fetchone()
    assert row is not None
    at = (row[0] + timedelta(milliseconds=300)).isoformat()
    path = f"/v1/accounts/{api.account_id}"
    dated = {"reason": "r", "expires_at": at}
    first = {"amount": 30, "kind": "promotional", "source_ref": "p", "priority": 0}
    for verb, body in (("grants", first | dated), ("holds", {"amount": 20} | dated)):
        answer = await api.post(f"{path}/{verb}", body, "admin")
        assert answer.status_code in {200, 201}, answer.text


async def _until_due(api: Api) -> None:
    query = "SELECT pg_sleep_until(max(due_at) + interval '50 ms') FROM accounts"
    async with await psycopg.AsyncConnection.connect(api.service.dsn) as connection:
        await connection.execute(query)


async def _read(api: Api, path: str) -> Document:
    answer = await api.get(path, "user" if "/account/" in f"{path}/" else "admin")
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_every_read_of_an_account_is_as_of_now(api: Api) -> None:
    path = f"/v1/accounts/{api.account_id}"
    for what in ("/v1/account", path, "/v1/accounts"):
        account = new_id()
        await api.open_account(account)
        api.account = account
        await _dated(api)
        api.secrets["user"] = api.secrets[await api.key_of(account)]
        await _until_due(api)
        found = await _read(api, what.replace(path, f"/v1/accounts/{api.account_id}"))
        found = next((a for a in found.get("items", []) if a["id"] == api.account_id), found)
        figures = [found[name] for name in ("available", "held", "expired", "active")]
        assert (what, figures) == (what, [CREDITS, 0, 30, 0])


async def test_grants_and_holds_are_those_of_now(api: Api) -> None:
    await _dated(api)
    assert len((await _read(api, "/v1/account/holds"))["items"]) == 1
    assert len((await _read(api, "/v1/account/grants"))["items"]) == 2
    await _until_due(api)

    assert (await _read(api, "/v1/account/holds"))["items"] == []
    [grant] = (await _read(api, "/v1/account/grants"))["items"]
    assert grant["remaining"] == CREDITS


async def test_every_statement_has_what_was_due(api: Api) -> None:
    """Entered in the log by whoever reads first, before the reading."""
    for of in ("/v1/account", "/v1/accounts/{id}"):
        for what in ("statement", "statement.csv", "statement/summary"):
            account = new_id()
            await api.open_account(account)
            api.account = account
            api.secrets["user"] = api.secrets[await api.key_of(account)]
            await _dated(api)
            await _until_due(api)
            path = f"{of.format(id=api.account_id)}/{what}"
            answer = await api.get(path, "admin" if "{" in of else "user")
            assert answer.status_code == 200, answer.text
            balance = await api.service.queries.account(account)
            assert balance is not None
            assert (what, balance.expired) == (what, 30)


async def test_a_stream_opens_with_the_account_of_now(api: Api) -> None:
    await _dated(api)
    await _until_due(api)
    async with listening(api, "/v1/events") as stream:
        opening = await stream.next()
    assert opening is not None
    assert (opening.data["account"]["available"], opening.data["account"]["held"]) == (CREDITS, 0)


async def test_a_hold_that_expired_unseen_cannot_be_captured_or_refunded(api: Api) -> None:
    await _dated(api)
    [hold] = (await _read(api, "/v1/account/holds"))["items"]
    await _until_due(api)
    path = f"/v1/accounts/{api.account_id}/holds/{hold['id']}/capture"
    refunds = f"/v1/accounts/{api.account_id}/refunds"
    for settled in (False, True):
        if settled:
            await _read(api, "/v1/account")
        for verb, body in ((path, {}), (refunds, {"hold_id": hold["id"]})):
            answer = await api.post(verb, {"reason": "r"} | body, "admin")
            assert (answer.status_code, answer.json()["code"]) == (409, "hold_settled")
            assert answer.json()["state"] == "expired"


async def test_the_owner_hears_of_low_and_of_no_credits(api: Api) -> None:
    plan = Plan(name="standard", low_credits=100)
    asked = Asked(account_id=api.account, origin=SETUP)
    async with listening(api, "/v1/events") as stream:
        for amount in (CREDITS - 50, 50):
            command = HoldCredits(hold_id=new_id(), amount=amount, plan=plan)
            await api.service.ledgers.carry_out(asked, command)
        heard = await stream.until("credits.exhausted")

    told = {event.name: event.data["data"] for event in heard if event.name != "account"}
    assert told["credits.low"] == {"available": 50, "threshold": 100}
    assert told["credits.exhausted"] == {"available": 0}


async def test_the_owner_hears_of_refunds_to_spent_grants_and_of_closed_books(api: Api) -> None:
    asked = Asked(account_id=api.account, origin=SETUP)
    hold_id, reason = new_id(), "r"
    async with listening(api, "/v1/events") as stream:
        await api.service.ledgers.hold(asked, hold_id, amount=CREDITS, reason=reason)
        await api.service.holds.capture(asked, hold_id, amount=None, reason=reason)
        await api.service.holds.refund(asked, hold_id, amount=None, reason=reason)
        await api.service.ledgers.carry_out(asked, ledger.CloseBooks(period="2026-01"))
        heard = {event.name: event.data for event in await stream.until("books.closed")}

    refund = heard["credits.refunded"]["data"]
    assert refund["hold_id"] == public_id("hold", hold_id)
    assert [grant["id"][:6] for grant in refund["grants"]] == ["grant_"]
    books = heard["books.closed"]["data"]
    assert (books["period"], books["granted"], books["refunded"]) == ("2026-01", CREDITS, CREDITS)
    assert not {"grants", "holds", "source_refs", "refunds"} & books.keys()
