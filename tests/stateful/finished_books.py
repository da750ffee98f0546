"""What the read models behind the log say of accounts whose histories are over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, LiteralString

import msgspec

from adapters.pool import fetch
from projections.journal import CustomerBooks
from tests.integration.http.api import CREDITS, Api
from tests.stateful.ledger_checks import check_customer_books
from tests.stateful.money_over_http import SOME, Document, Finished
from tests.stateful.plain_ledger import PlainLedger

_JOURNAL: LiteralString = "SELECT to_jsonb(j) - 'position' FROM journal_customers AS j"
OTHERS = 2 * CREDITS
"""What the accounts that every test of the API has were granted."""


def check_finished(api: Api, runner: asyncio.Runner, finished: Sequence[Finished]) -> None:
    """Statements, the journal and the trial balance are those of the plain ledgers."""
    while not _settled(api, runner, finished):
        pass
    runner.run(api.project())
    for one in finished:
        runner.run(_check_statement(api, one))
    runner.run(_check_journal(api, finished))
    runner.run(_check_trial_balance(api, [one.plain for one in finished]))


def _settled(api: Api, runner: asyncio.Runner, finished: Sequence[Finished]) -> bool:
    """Settle both; False where something came due in between, for time goes on."""
    while runner.run(api.service.ledgers.settle_due(SOME)).count:
        pass
    now = api.service.clock.now()
    for one in finished:
        one.plain.clock.now = now
        one.plain.see_to_it()
    return not runner.run(api.service.ledgers.settle_due(SOME)).count


async def _check_statement(api: Api, one: Finished) -> None:
    """Each line leads to the balance after it, and at each step it was the plain one's."""
    lines = await _lines(api, one.user)
    available = held = 0
    standing = {0: (0, 0)}
    totals: Counter[str] = Counter()
    for line in lines:
        available += line["available_change"]
        held += line["held_change"]
        assert (line["available"], line["held"]) == (available, held)
        standing[line["version"]] = available, held
        totals[line["kind"]] += line["amount"]
    for moment in one.moments:
        last = max(version for version in standing if version <= moment.version)
        figures = moment.figures
        assert standing[last] == (figures["available"], figures["held"]), moment
    plain = one.plain
    assert (available, held) == (plain.available, plain.held)
    assert totals["granted"] == plain.granted
    assert totals["captured"] == plain.captured + plain.refunded
    assert (totals["refunded"], totals["expired"], totals["voided"]) == (
        *(plain.refunded, plain.expired, plain.voided),
    )
    summary = await _read(api, "/v1/account/statement/summary", one.user)
    assert (summary["closing"]["available"], summary["closing"]["held"]) == (available, held)


async def _check_journal(api: Api, finished: Sequence[Finished]) -> None:
    """The journal's row of each account; one of an account without postings is not there."""
    found = await fetch(api.service.pool, _JOURNAL, {})
    rows = [msgspec.convert(row, CustomerBooks) for (row,) in found]
    books = {row.id: row for row in rows}
    for one in finished:
        check_customer_books(books.get(one.id, CustomerBooks(id=one.id)), one.plain)


async def _check_trial_balance(api: Api, plain: Sequence[PlainLedger]) -> None:
    shown = await _read(api, "/v1/books/trial-balance", "admin")
    assert shown["balanced"]
    assert shown["parked_streams"] == 0
    assert shown["customers"]["equal"]
    assert shown["customers"]["posted"]
    found = {one["account"]: one["balance"] for one in shown["accounts"]}
    expected = {
        "overdraft": sum(one.owed for one in plain),
        "refunded": sum(one.refunded for one in plain),
        "pending": sum(one.pending for one in plain),
        "available": sum(one.available + one.owed for one in plain) + OTHERS,
        "held": sum(one.held for one in plain),
        "revenue": sum(one.captured + one.refunded for one in plain),
        "expired": sum(one.expired for one in plain),
        "voided": sum(one.voided for one in plain),
    }
    assert {name: found[name] for name in expected} == expected
    granted = sum(balance for name, balance in found.items() if name.startswith("granted_"))
    assert granted == sum(one.granted for one in plain) + OTHERS


async def _lines(api: Api, user: str) -> list[Document]:
    lines: list[Document] = []
    path = "/v1/account/statement?order=oldest&limit=200"
    cursor = ""
    while True:
        page = await _read(api, path + cursor, user)
        lines += page["items"]
        if page["next_cursor"] is None:
            return lines
        cursor = f"&cursor={page['next_cursor']}"


async def _read(api: Api, path: str, as_: str) -> dict[str, Any]:
    answer = await api.get(path, as_)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told
