"""The trial balance proves the books at any moment: against themselves and the accounts' rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from adapters import books as books_module
from adapters.books import Books, TrialBalance
from adapters.mapper import EventMapper
from adapters.pool import open_pool
from adapters.read_tables import JOURNAL_TABLE
from domain import ledger
from domain.aggregate import LEDGERS, Stream
from domain.errors import InvalidInput
from domain.event import Event
from projections import journal
from projections.journal import JOURNAL, SIDES
from service.books import begin_of, span_of, totals, trial_balance
from service.identifiers import new_id
from tests.histories import store
from tests.integration.bus import ORIGIN, opened
from tests.integration.read_models import commit, drain, projector
from tests.integration.test_stream_plans import nodes_of
from tests.ledger_history import PLAN, LedgerHistory

JOURNALS = [JOURNAL_TABLE]
LOOKS = 6
"""At so many states of the log the books are looked at, at least, while others write."""


ONE_EACH_WAY = (
    "UPDATE {} SET {} = {} + CASE WHEN id = (SELECT min(id::text)::uuid FROM {}) THEN 1 ELSE -1 END"
    " WHERE id <> (SELECT max(id::text)::uuid FROM {})"
)
FORGERIES: list[tuple[Any, bool, bool, int]] = [
    ("UPDATE journal_totals SET debits = debits + 1 WHERE account = 'held'", False, False, 0),
    (ONE_EACH_WAY.format("accounts", *["available"] * 2, *["accounts"] * 2), True, True, 2),
    (
        ONE_EACH_WAY.format("journal_customers", *["held"] * 2, *["journal_customers"] * 2),
        True,
        True,
        2,
    ),
    ("UPDATE journal_customers SET expired = expired + 1", True, False, 3),
    ("DELETE FROM journal_customers WHERE id = (SELECT id FROM accounts LIMIT 1)", True, False, 1),
]
"""What was done, and then: balanced, totals by day are the customers', customers that differ."""


@pytest.fixture
async def books(database: str) -> AsyncIterator[Books]:
    async with open_pool(database, 3) as pool:
        yield Books(pool, EventMapper())


def ledgers(seed: int, accounts: int = 3, commands: int = 60) -> list[Event]:
    """Every kind of fact, account after account."""
    return [
        event
        for number in range(accounts)
        for event, _ in LedgerHistory(seed + number).run(commands)
    ]


def proved(found: TrialBalance) -> bool:
    assert found.customers is not None
    return found.balanced and found.customers.equal and found.customers.posted


async def _take(database: str, batch: int) -> None:
    async with projector(database, JOURNAL_TABLE, batch_events_max=batch) as one:
        assert await one.run_once() == batch


async def test_it_holds_however_far_the_journal_has_come(database: str, books: Books) -> None:
    events = ledgers(1)
    await commit(database, events)
    debits = {(await books.trial_balance()).debits}
    for _ in range(3):
        await _take(database, len(events) // 4)
        found = await books.trial_balance()
        assert proved(found)
        assert (found.position, found.head) == (len(events), len(events))
        debits.add(found.debits)
    await drain(database, JOURNALS)
    found = await books.trial_balance()
    assert proved(found)
    assert found.customers is not None
    assert found.customers.compared == 3
    assert {*debits, found.debits} == {found.debits}
    assert found.debits > 0


async def test_it_holds_at_every_moment_while_others_write(database: str, books: Books) -> None:
    async with opened(database, []) as bench, projector(database, JOURNAL_TABLE) as keeper:
        stream = Stream(LEDGERS, bench.account_id)
        heads: set[int] = set()
        spent = 0

        async def spend(at_least: int) -> None:
            """Go on until the books were looked at often enough meanwhile."""
            nonlocal spent
            for number in range(40 * at_least):
                if number >= at_least and len(heads) >= LOOKS:
                    break
                spent += 1
                hold = ledger.HoldCredits(hold_id=new_id(), amount=3, plan=PLAN, task_id=new_id())
                capture = ledger.CaptureHold(hold_id=hold.hold_id, amount=2)
                for command in (hold, capture):
                    await bench.bus.execute(
                        lambda states, meta, c=command: ledger.decide(  # type: ignore[misc]
                            states[bench.account_id], c, meta
                        ),
                        ORIGIN,
                        streams=(stream,),
                    )

        async def look() -> None:
            while not writing.done():
                found = await books.trial_balance()
                assert proved(found), found
                heads.add(found.head)

        async def follow() -> None:
            while not writing.done():
                await keeper.run_once()

        writing = asyncio.gather(*(spend(25) for _ in range(4)))
        await asyncio.gather(look(), follow(), writing)
        assert len(heads) >= LOOKS, "it was looked at while they wrote"
        last = await books.trial_balance()
        assert proved(last)
        [revenue] = [line for line in last.accounts if line.account == "revenue"]
        assert revenue.balance == spent * 2


async def test_a_forged_total_and_a_forged_account_are_found(database: str, books: Books) -> None:
    await commit(database, ledgers(5))
    await drain(database, JOURNALS)
    for forgery, balanced, posted, differing in FORGERIES:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute(forgery)
        found = await books.trial_balance()
        customers = found.customers
        assert customers is not None
        assert (found.balanced, customers.posted) == (balanced, posted), forgery
        assert (customers.differing, customers.equal) == (differing, not differing), forgery
        assert len(customers.differing_ids) == differing
        await _mend(database)
        assert proved(await books.trial_balance())


async def _mend(database: str) -> None:
    """The rows again as the log makes them."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("TRUNCATE journal_totals, journal_customers")
        await connection.execute("UPDATE tracking SET position = 0 WHERE consumer = 'journal.v1'")
        await connection.execute(
            "UPDATE accounts SET available = granted - pending - held - captured - expired - voided"
        )
    await drain(database, JOURNALS)


async def test_an_account_that_the_journal_set_aside_is_told(database: str, books: Books) -> None:
    events = ledgers(9, accounts=2)
    await commit(database, events)
    bad = next(n for n, e in enumerate(events, 1) if JOURNAL.key(e) is not None)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute(
            "UPDATE tallystick_events SET state = '{' WHERE notification_id = %s", (bad,)
        )
    for parked in (0, 1):
        found = await books.trial_balance()
        assert found.balanced
        assert found.parked_streams == parked
        assert found.customers is not None
        assert found.customers.differing_ids == [events[0].originator_id]
        await drain(database, JOURNALS)


async def test_nothing_more_is_posted_to_an_account_that_was_set_aside(
    database: str, books: Books
) -> None:
    story = LedgerHistory(9)
    grant = ledger.GrantCredits(grant_id=new_id(), kind="paid", amount=5, source_ref="first")
    bad = store(database, [event for event, _ in (*story.run(0), *story.do(grant))])
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute(
            "UPDATE tallystick_events SET state = '{' WHERE notification_id = %s", (bad,)
        )
    await drain(database, JOURNALS)
    before = await books.trial_balance()
    more = replace(grant, grant_id=new_id(), source_ref="more")
    head = store(database, [event for event, _ in story.do(more)])
    after = await books.trial_balance()
    assert after.position == head
    assert (after.accounts, after.parked_streams) == (before.accounts, 1)


async def test_too_far_behind_it_tells_how_far_it_has_come(
    database: str, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = ledgers(3)
    await commit(database, events)
    async with projector(database, JOURNAL_TABLE, batch_events_max=50) as one:
        await one.run_once()
    monkeypatch.setattr(books_module, "TAIL_EVENTS_MAX", len(events) - 51)
    found = await books.trial_balance()
    assert (found.position, found.head, found.customers) == (50, len(events), None)
    assert found.balanced
    monkeypatch.setattr(books_module, "TAIL_EVENTS_MAX", len(events) - 50)
    assert proved(await books.trial_balance())


@pytest.mark.parametrize("taken", [0, 70, 10_000])
async def test_the_end_of_a_day_is_what_was_posted_before_the_next(
    database: str, books: Books, taken: int
) -> None:
    events = ledgers(4, accounts=2)
    await commit(database, events)
    if taken:
        async with projector(database, JOURNAL_TABLE, batch_events_max=taken) as one:
            await one.run_once()
    moved = [event for event in events if JOURNAL.key(event) is not None]
    days = sorted({event.meta.at.date() for event in moved})
    assert len(days) > 5
    for day in (days[0] - timedelta(days=1), *days[:6]):
        sums = dict.fromkeys(SIDES, 0)
        for event in moved:
            if event.meta.at.date() <= day:
                for account, debit, credit in journal.posting(event):
                    sums[account] += journal.balance_of(account, debit, credit)
        found = await trial_balance(books, day)
        assert {line.account: line.balance for line in found.accounts} == sums
        assert found.balanced
        assert found.until == begin_of(day) + timedelta(days=1)
        assert found.customers is None


async def test_totals_add_up_in_days_months_and_in_all(database: str, books: Books) -> None:
    events = ledgers(6)
    await commit(database, events)
    await drain(database, JOURNALS)
    span = date(2026, 3, 30), date(2026, 6, 1)
    whole = await trial_balance(books, None)
    for bucket, begins in (("day", None), ("month", {3, 4, 5}), ("total", {3})):
        found = await totals(books, span, bucket)  # type: ignore[arg-type]
        assert sum(total.debits for total in found) == whole.debits
        assert {total.task_type for total in found} == {"", "image_generation", "upscaling"}
        if begins is not None:
            assert {total.begins.month for total in found} <= begins
    first = min(e.meta.at for e in events if JOURNAL.key(e) is not None).astimezone(UTC).date()
    assert await totals(books, (first - timedelta(days=9), first), "day") == []
    [only] = {t.begins for t in await totals(books, (first, first + timedelta(days=1)), "day")}
    assert only == begin_of(first)


async def test_too_many_totals_are_refused(
    database: str, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commit(database, ledgers(6, accounts=1))
    await drain(database, JOURNALS)
    span = date(2026, 3, 30), date(2026, 5, 1)
    rows = len(await totals(books, span, "day"))
    monkeypatch.setattr(books_module, "TOTALS_ROWS_MAX", rows)
    assert len(await totals(books, span, "day")) == rows
    monkeypatch.setattr(books_module, "TOTALS_ROWS_MAX", rows - 1)
    with pytest.raises(InvalidInput, match="Too many rows"):
        await totals(books, span, "day")


@pytest.mark.postgres15
async def test_a_few_days_of_many_are_read_by_an_index(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO journal_totals SELECT timestamptz '2026-01-01 00:00+00'"
            " + n / 20 * interval '1 day', 'held', 't' || n % 20, 1, 1"
            " FROM generate_series(0, 99999) AS n"
        )
        await connection.execute("VACUUM ANALYZE journal_totals")
    since = datetime(2026, 3, 1, tzinfo=UTC)
    parameters = {
        "since": since,
        "until": since + timedelta(days=3),
        "bucket": "day",
        "limit": 1_000,
    }
    async with open_pool(database, 1) as pool:
        nodes = await nodes_of(pool, "select_journal_totals", parameters)
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    [index] = {node["Index Name"] for node in nodes if "Index Name" in node}
    assert index == "journal_totals_pkey"


def test_a_span_of_totals_is_the_last_days_and_bounded() -> None:
    now = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    assert span_of(now, None, None) == (date(2026, 10, 23), date(2026, 11, 23))
    assert span_of(now, None, date.min.replace(day=2)) == (date.min, date.min.replace(day=2))
    for since, until in (
        (date(2026, 1, 2), date(2026, 1, 2)),
        (date(2010, 1, 1), date(2026, 1, 1)),
    ):
        with pytest.raises(InvalidInput, match="span of time"):
            span_of(now, since, until)
