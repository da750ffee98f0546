"""Behind: double entry: each movement of credits posted to accounts that must balance.

The accounts are those of whoever runs the service. What customers were granted is owed to them in
service, so it stands as a debit by where it came from, and as a credit where the customer has it:
not effective yet, available, held. From there it ends as revenue, or expired, or voided, which are
credits too, since nothing is owed for them any more. What customers owe (an overdraft) and what was
given back after it was charged are debits. Refunds do not lessen revenue but have an account of
their own, so that both can be read.

Credits of an overdraft come out of no grant: they are lent when they are held, and paid back when
they return, or by credits that expire or are voided. So a customer's `available` in the `accounts`
table is the account `available` less `overdraft`, and `captured` is `revenue` less `refunded`.
`overdraft` may be below zero: credits that came back after the debt was paid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.event import Event
from domain.grants import overdraft_in
from domain.ledger_events import (
    CreditsCaptured,
    CreditsExpired,
    CreditsGranted,
    CreditsHeld,
    CreditsMatured,
    CreditsRefunded,
    CreditsReleased,
    CreditsVoided,
    GrantKind,
    HoldExpired,
    HoldExtended,
    Slice,
)
from projections.projection import Projection, Tally

NAME = "journal"
VERSION = 1
BookAccount = Literal[
    "granted_paid",
    "granted_promotional",
    "granted_trial",
    "granted_adjustment",
    "overdraft",
    "refunded",
    "pending",
    "available",
    "held",
    "revenue",
    "expired",
    "voided",
]
BOOK_ACCOUNTS: tuple[BookAccount, ...] = get_args(BookAccount)
Side = Literal["debit", "credit"]
_DEBITS: frozenset[BookAccount] = frozenset(
    {
        "granted_paid",
        "granted_promotional",
        "granted_trial",
        "granted_adjustment",
        "overdraft",
        "refunded",
    }
)
SIDES: Mapping[BookAccount, Side] = MappingProxyType(
    {account: "debit" if account in _DEBITS else "credit" for account in BOOK_ACCOUNTS}
)
"""The side on which an account grows, and its balance is told."""


class Unbalanced(Exception):
    """A posting whose debits are not its credits; its stream is parked."""


class Entry(NamedTuple):
    """A part of a posting: credits on one side of one account."""

    account: BookAccount
    debit: int
    credit: int


Posting = tuple[Entry, ...]


class CustomerBooks(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The balance of each account as far as it is one customer's, on the account's own side."""

    id: UUID
    granted_paid: int = 0
    granted_promotional: int = 0
    granted_trial: int = 0
    granted_adjustment: int = 0
    overdraft: int = 0
    refunded: int = 0
    pending: int = 0
    available: int = 0
    held: int = 0
    revenue: int = 0
    expired: int = 0
    voided: int = 0


class DayTotal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was posted to an account in a UTC day for one task type; "" is for none or several."""

    day: datetime
    account: str
    task_type: str
    debits: int
    credits: int


class DayTotalKey(NamedTuple):
    day: datetime
    account: str
    task_type: str


def posting(event: Event) -> Posting:
    """The entries of an event, without those of nothing. Raises `Unbalanced`."""
    entries = tuple(entry for entry in _POSTINGS[type(event)](event) if entry.debit or entry.credit)
    debits, credits_ = sum(e.debit for e in entries), sum(e.credit for e in entries)
    if debits != credits_:
        raise Unbalanced(f"{event.TOPIC} has {debits} debits and {credits_} credits")
    return entries


def _debit(account: BookAccount, amount: int) -> Entry:
    return Entry(account, amount, 0)


def _credit(account: BookAccount, amount: int) -> Entry:
    return Entry(account, 0, amount)


GRANTED: Mapping[GrantKind, BookAccount] = MappingProxyType(
    {
        "paid": "granted_paid",
        "promotional": "granted_promotional",
        "trial": "granted_trial",
        "adjustment": "granted_adjustment",
    }
)
"""Where the credits of each kind of grant come from."""


def _granted(event: CreditsGranted) -> Posting:
    later = event.effective_at is not None and event.effective_at > event.meta.at
    into: BookAccount = "pending" if later else "available"
    return _debit(GRANTED[event.kind], event.amount), _credit(into, event.amount)


def _matured(event: CreditsMatured) -> Posting:
    return _debit("pending", event.amount), _credit("available", event.amount)


def _held(event: CreditsHeld) -> Posting:
    return (*_taken(event.amount, event.slices), _credit("held", event.amount))


def _extended(event: HoldExtended) -> Posting:
    return (*_taken(event.added, event.slices), _credit("held", event.added))


def _captured(event: CreditsCaptured) -> Posting:
    return (
        _debit("held", event.amount + event.released),
        _credit("revenue", event.amount),
        *_returned(event.released, event.released_slices),
    )


def _released(event: CreditsReleased | HoldExpired) -> Posting:
    return (_debit("held", event.amount), *_returned(event.amount, event.slices))


def _expired(event: CreditsExpired) -> Posting:
    return (
        _debit("available", event.amount + event.repaid),
        _credit("expired", event.amount),
        _credit("overdraft", event.repaid),
    )


def _voided(event: CreditsVoided) -> Posting:
    gone = _credit("voided", event.amount), _credit("overdraft", event.repaid)
    if event.pending:
        return (_debit("pending", event.amount + event.repaid), *gone)
    return (*_taken(event.amount + event.repaid, event.slices), *gone)


def _refunded(event: CreditsRefunded) -> Posting:
    return (_debit("refunded", event.amount), *_returned(event.amount, event.slices))


def _taken(amount: int, slices: tuple[Slice, ...]) -> Posting:
    """Credits out of the customer's free ones, and those lent."""
    lent = overdraft_in(slices)
    return _debit("available", amount - lent), _debit("overdraft", lent)


def _returned(amount: int, slices: tuple[Slice, ...]) -> Posting:
    lent = overdraft_in(slices)
    return _credit("available", amount - lent), _credit("overdraft", lent)


_POSTINGS: Mapping[type[Event], Callable[[Any], Posting]] = MappingProxyType(
    {
        CreditsGranted: _granted,
        CreditsMatured: _matured,
        CreditsHeld: _held,
        HoldExtended: _extended,
        CreditsCaptured: _captured,
        CreditsReleased: _released,
        HoldExpired: _released,
        CreditsExpired: _expired,
        CreditsVoided: _voided,
        CreditsRefunded: _refunded,
    }
)


def evolve(books: CustomerBooks | None, event: Event) -> CustomerBooks:
    """The customer's books with the event's posting."""
    books = CustomerBooks(id=event.originator_id) if books is None else books
    changes: dict[str, Any] = {}
    for account, debit, credit in posting(event):
        before = changes.get(account, getattr(books, account))
        changes[account] = before + balance_of(account, debit, credit)
    return replace(books, **changes)


def balance_of(account: BookAccount, debits: int, credits_: int) -> int:
    """On the account's own side."""
    return debits - credits_ if SIDES[account] == "debit" else credits_ - debits


def count(_: CustomerBooks | None, event: Event, __: CustomerBooks) -> tuple[DayTotal, ...]:
    """What one event adds."""
    day = day_of(event.meta.at)
    task_type = getattr(event, "task_type", None) or ""
    return tuple(
        DayTotal(day=day, account=account, task_type=task_type, debits=debit, credits=credit)
        for account, debit, credit in posting(event)
    )


def day_of(at: datetime) -> datetime:
    """The begin of the UTC day that `at` lies in."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def key(row: DayTotal) -> DayTotalKey:
    return DayTotalKey(row.day, row.account, row.task_type)


def add(one: DayTotal, other: DayTotal) -> DayTotal:
    """Both totals of one key together."""
    return replace(one, debits=one.debits + other.debits, credits=one.credits + other.credits)


JOURNAL = Projection(
    name=NAME,
    version=VERSION,
    row=CustomerBooks,
    events=frozenset(_POSTINGS),
    evolve=evolve,
    tally=Tally(row=DayTotal, count=count, key=key, add=add),
)
