"""Double entry: what each fact posts, and that the books balance and say what the ledgers say."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.balance import Balance
from domain.event import Event
from domain.ledger_events import (
    OVERDRAFT,
    AccountOpened,
    CreditsCaptured,
    CreditsExpired,
    CreditsGranted,
    CreditsHeld,
    CreditsMatured,
    CreditsRefunded,
    CreditsReleased,
    CreditsVoided,
    HoldExpired,
    HoldExtended,
    Slice,
)
from projections import journal
from projections.fold import Entry, Fold
from projections.journal import JOURNAL, SIDES, CustomerBooks, DayTotal, Unbalanced
from tests.histories import History
from tests.ledger_history import LedgerHistory
from tests.unit.domain.given import ACCOUNT_ID, HOLD_ID, NOON, metadata

GRANT = UUID(int=9)
LATER = NOON + timedelta(days=1)
OWED = Slice(OVERDRAFT, 4)
HOLD: dict[str, Any] = {"hold_id": HOLD_ID}
POSTINGS: list[tuple[type[Event], dict[str, Any], dict[str, int]]] = [
    *(
        (
            CreditsGranted,
            {"grant_id": GRANT, "kind": kind, "amount": 10, "priority": 1, "source_ref": "r"},
            {f"granted_{kind}": 10, "available": -10},
        )
        for kind in ("paid", "promotional", "trial", "adjustment")
    ),
    (
        CreditsGranted,
        {
            "grant_id": GRANT,
            "kind": "paid",
            "amount": 10,
            "priority": 1,
            "source_ref": "r",
            "effective_at": LATER,
        },
        {"granted_paid": 10, "pending": -10},
    ),
    (
        CreditsGranted,
        {
            "grant_id": GRANT,
            "kind": "paid",
            "amount": 10,
            "priority": 1,
            "source_ref": "r",
            "effective_at": NOON,
        },
        {"granted_paid": 10, "available": -10},
    ),
    (CreditsMatured, {"grant_id": GRANT, "amount": 10}, {"pending": 10, "available": -10}),
    (
        CreditsHeld,
        HOLD | {"amount": 10, "slices": (Slice(GRANT, 10),)},
        {"available": 10, "held": -10},
    ),
    (
        CreditsHeld,
        HOLD | {"amount": 10, "slices": (Slice(GRANT, 6), OWED)},
        {"available": 6, "overdraft": 4, "held": -10},
    ),
    (CreditsHeld, HOLD | {"amount": 0, "trial": True}, {}),
    (
        HoldExtended,
        HOLD | {"added": 5, "slices": (Slice(GRANT, 1), OWED)},
        {"available": 1, "overdraft": 4, "held": -5},
    ),
    (
        CreditsCaptured,
        HOLD
        | {
            "amount": 7,
            "slices": (Slice(GRANT, 7),),
            "released": 5,
            "released_slices": (Slice(GRANT, 1), OWED),
        },
        {"held": 12, "revenue": -7, "available": -1, "overdraft": -4},
    ),
    (
        CreditsCaptured,
        HOLD | {"amount": 10, "slices": (Slice(GRANT, 6), OWED)},
        {"held": 10, "revenue": -10},
    ),
    (
        CreditsReleased,
        HOLD | {"amount": 10, "slices": (Slice(GRANT, 6), OWED)},
        {"held": 10, "available": -6, "overdraft": -4},
    ),
    (
        HoldExpired,
        HOLD | {"amount": 10, "slices": (Slice(GRANT, 10),)},
        {"held": 10, "available": -10},
    ),
    (
        CreditsExpired,
        {"amount": 7, "repaid": 3, "slices": (Slice(GRANT, 10),)},
        {"available": 10, "expired": -7, "overdraft": -3},
    ),
    (
        CreditsVoided,
        {"amount": 7, "repaid": 3, "slices": (Slice(GRANT, 10),)},
        {"available": 10, "voided": -7, "overdraft": -3},
    ),
    (
        CreditsVoided,
        {"amount": 7, "pending": True, "slices": (Slice(GRANT, 7),)},
        {"pending": 7, "voided": -7},
    ),
    (CreditsVoided, {"amount": 4, "slices": (OWED,)}, {"overdraft": 4, "voided": -4}),
    (
        CreditsRefunded,
        HOLD
        | {"amount": 10, "slices": (Slice(GRANT, 6), OWED), "captured_at": NOON, "reason": "r"},
        {"refunded": 10, "available": -6, "overdraft": -4},
    ),
]


def _event(kind: type[Event], fields: dict[str, Any], at: datetime = NOON) -> Event:
    return kind(originator_id=ACCOUNT_ID, originator_version=2, meta=metadata(at), **fields)


def _net(event: Event) -> dict[str, int]:
    """Debits of each account, credits being below zero."""
    net: Counter[str] = Counter()
    for account, debit, credit in journal.posting(event):
        net[account] += debit - credit
    return dict(net)


@pytest.mark.parametrize(("kind", "fields", "expected"), POSTINGS)
def test_each_fact_is_posted_to_its_accounts(
    kind: type[Event], fields: dict[str, Any], expected: dict[str, int]
) -> None:
    assert _net(_event(kind, fields)) == expected
    assert sum(expected.values()) == 0


def test_every_fact_that_moves_credits_has_a_posting() -> None:
    assert {kind for kind, _, _ in POSTINGS} == JOURNAL.events
    opened = _event(AccountOpened, {"plan": "standard"})
    assert JOURNAL.key(opened) is None


def test_a_posting_that_does_not_balance_parks_its_account_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = _event(*POSTINGS[0][:2])
    one_sided = (journal.Entry("held", 1, 0),)
    monkeypatch.setattr(journal, "_POSTINGS", {CreditsGranted: lambda _: one_sided})
    with pytest.raises(Unbalanced, match=r"credits\.granted has 1 debits and 0 credits"):
        journal.posting(event)
    fold = Fold(JOURNAL)
    fold.feed(Entry(1, ACCOUNT_ID, "credits.granted.v1", b""), lambda _, __: event)
    assert (fold.written, fold.tallied) == ([], {})
    assert "Unbalanced" in fold.parked[ACCOUNT_ID].error


def proved(books: CustomerBooks, balance: Balance) -> None:
    """The customer's books are balanced, and say what the ledger says."""
    told = [(getattr(books, account), SIDES[account]) for account in SIDES]
    assert sum(n if side == "debit" else -n for n, side in told) == 0
    assert books.available - books.overdraft == balance.available
    assert books.revenue - books.refunded == balance.captured
    granted = (
        books.granted_paid,
        books.granted_promotional,
        books.granted_trial,
        books.granted_adjustment,
    )
    assert sum(granted) == balance.granted
    for name in ("pending", "held", "refunded", "expired", "voided"):
        assert getattr(books, name) == getattr(balance, name), name


@given(seed=st.integers(0, 2**32))
@settings(max_examples=80)
def test_after_every_fact_of_any_ledger_the_books_say_what_the_ledger_says(seed: int) -> None:
    books: CustomerBooks | None = None
    for event, state in LedgerHistory(seed).run(60):
        if JOURNAL.key(event) is not None:
            books = journal.evolve(books, event)
        proved(books or CustomerBooks(id=ACCOUNT_ID), state.balance)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=80)
def test_the_totals_of_all_days_are_the_customers_balances(seed: int) -> None:
    history = History(seed, accounts=2).grow(120)
    fold = Fold(JOURNAL)
    for position, event in enumerate(history.events, 1):
        fold.take(position, event)
    for account_id, state in history.ledgers.items():
        proved(fold.rows[account_id], state.balance)
    for account in SIDES:
        totals = [t for t in fold.tallied.values() if t.account == account]
        balance = journal.balance_of(
            account, sum(t.debits for t in totals), sum(t.credits for t in totals)
        )
        assert balance == sum(getattr(row, account) for row in fold.rows.values())


def test_what_is_posted_counts_in_the_utc_day_and_for_the_type_of_its_fact() -> None:
    fields = HOLD | {"amount": 7, "slices": (Slice(GRANT, 7),), "task_type": "upscaling"}
    midnight = datetime(2026, 11, 2, tzinfo=UTC)
    east = midnight.astimezone(timezone(timedelta(hours=9)))
    for at, day in (
        (midnight, midnight),
        (east, midnight),
        (midnight - timedelta(microseconds=1), midnight - timedelta(days=1)),
    ):
        event = _event(CreditsHeld, fields, at)
        assert journal.count(None, event, CustomerBooks(id=ACCOUNT_ID)) == (
            DayTotal(day=day, account="available", task_type="upscaling", debits=7, credits=0),
            DayTotal(day=day, account="held", task_type="upscaling", debits=0, credits=7),
        )


def test_what_is_for_no_one_type_counts_without_a_type() -> None:
    fields = HOLD | {"amount": 7, "slices": (Slice(GRANT, 7),)}
    for event in (_event(*POSTINGS[0][:2]), _event(CreditsHeld, fields)):
        totals = journal.count(None, event, CustomerBooks(id=ACCOUNT_ID))
        assert {total.task_type for total in totals} == {""}


def test_totals_of_one_key_add_up() -> None:
    total = DayTotal(day=NOON, account="held", task_type="", debits=1, credits=2)
    assert journal.add(total, replace(total, debits=10, credits=20)) == replace(
        total, debits=11, credits=22
    )
    assert journal.key(total) == (NOON, "held", "")
