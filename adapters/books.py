"""What the books say: trial balances and totals, exact as of a position of the log.

The journal is behind the log. What it has not taken yet is posted in memory, out of the same
snapshot of the database, so that it can be held against the accounts' rows at any moment, however
many write meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from adapters.arrays import Texts, Uuids
from adapters.mapper import EventMapper
from adapters.pool import LOST, Pool, fetch, lent
from adapters.read_model import BATCH_BYTES_MAX
from adapters.read_tables import JOURNAL_TABLE
from adapters.sql import statement
from domain.catalogue import BY_STORED_TOPIC
from domain.errors import InvalidInput, Unavailable
from domain.event import Event
from projections import journal
from projections.fold import Entry, Fold, Parked
from projections.journal import (
    BOOK_ACCOUNTS,
    JOURNAL,
    SIDES,
    BookAccount,
    CustomerBooks,
    Side,
    balance_of,
)

TAIL_EVENTS_MAX = 10_000
"""Events behind the log up to which a trial balance catches up by itself."""
TOTALS_ROWS_MAX = 10_000
Bucket = Literal["day", "month", "total"]
COMPARED = (
    *("granted", "pending", "available", "held"),
    *("captured", "expired", "voided", "refunded"),
)
"""What is compared, by its names in the `accounts` table."""
_IGNORED = Texts([t for t, (e, _) in BY_STORED_TOPIC.items() if e not in JOURNAL.events])
_ACCOUNT_ROWS = (
    "SELECT id, granted, pending, available, held, captured, expired, voided, refunded"
    " FROM accounts WHERE id = ANY (%b::uuid[])"
)
Connection = AsyncConnection[tuple[Any, ...]]
Sums = Mapping[BookAccount, tuple[int, int]]


class AccountBalance(msgspec.Struct, frozen=True, kw_only=True):
    """An account of the books; `balance` is told on its own `side`."""

    account: BookAccount
    side: Side
    debits: int
    credits: int
    balance: int


class ComparedSum(msgspec.Struct, frozen=True, kw_only=True):
    """A sum over all customers, as the journal and as the `accounts` table has it."""

    name: str
    journal: int
    accounts: int


class Customers(msgspec.Struct, frozen=True, kw_only=True):
    """All customers, each one's books held against its row in the `accounts` table.

    `differing_ids` are the first of them. `posted` says that the totals by day are the sums of the
    customers' books.
    """

    compared: int
    differing: int
    differing_ids: list[UUID]
    sums: list[ComparedSum]
    posted: bool

    @property
    def equal(self) -> bool:
        return self.differing == 0 and all(one.journal == one.accounts for one in self.sums)


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """All accounts up to and with the event at `position`, or of them those before `until`.

    `head` is the log's last event: with `position` before it, the journal was too far behind to
    catch up. `customers` are compared only at the head and for all days. `parked_streams` are
    accounts that the journal has set aside, which therefore differ.
    """

    position: int
    head: int
    until: datetime | None
    accounts: list[AccountBalance]
    debits: int
    credits: int
    parked_streams: int
    customers: Customers | None

    @property
    def balanced(self) -> bool:
        return self.debits == self.credits


class PeriodTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What was posted to an account from `begins` on; `task_type` is "" for none or several."""

    begins: datetime
    account: BookAccount
    task_type: str
    debits: int
    credits: int


class _Snapshot(NamedTuple):
    """One moment of the database."""

    connection: Connection
    position: int
    head: int
    parked_streams: int


class Books:
    """Raises `Unavailable`. Reads are one snapshot each, and change nothing."""

    def __init__(self, pool: Pool, mapper: EventMapper) -> None:
        self._pool = pool
        self._mapper = mapper

    async def trial_balance(self, until: datetime | None = None) -> TrialBalance:
        """Of all days, or of those before `until`, which begins a UTC day."""
        try:
            async with lent(self._pool) as connection, connection.transaction():
                await connection.execute(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
                )
                return await self._trial_balance(await _snapshot(connection), until)
        except LOST as error:
            raise Unavailable(f"The books cannot be read: {error}") from error

    async def totals(
        self, since: datetime, until: datetime, bucket: Bucket = "day"
    ) -> list[PeriodTotal]:
        """Totals of the UTC days with `since` <= day < `until`, as far as the journal has come.

        Raises `InvalidInput` for more than `TOTALS_ROWS_MAX` rows.
        """
        parameters = {
            "since": since,
            "until": until,
            "bucket": bucket,
            "limit": TOTALS_ROWS_MAX + 1,
        }
        query = statement("select_journal_totals")
        rows = await fetch(self._pool, query, parameters, prepare=False)
        if len(rows) > TOTALS_ROWS_MAX:
            hint = f"more than {TOTALS_ROWS_MAX} rows: narrow the range or widen the bucket"
            raise InvalidInput("Too many rows.", ("/until", hint))
        return [
            PeriodTotal(
                begins=begins,
                account=account,
                task_type=task_type,
                debits=int(debits),
                credits=int(credits_),
            )
            for begins, account, task_type, debits, credits_ in rows
        ]

    async def _trial_balance(self, now: _Snapshot, until: datetime | None) -> TrialBalance:
        tail = await self._tail(now)
        sums = await _sums(now.connection, until)
        customers = None
        if tail is not None:
            sums = _with_tail(sums, tail, until)
            if until is None:
                customers = await _customers(now.connection, tail, sums)
        lines = [_line(account, *sums.get(account, (0, 0))) for account in BOOK_ACCOUNTS]
        return TrialBalance(
            position=now.position if tail is None else now.head,
            head=now.head,
            until=until,
            accounts=lines,
            debits=sum(line.debits for line in lines),
            credits=sum(line.credits for line in lines),
            parked_streams=now.parked_streams,
            customers=customers,
        )

    async def _tail(self, now: _Snapshot) -> Fold[CustomerBooks] | None:
        """What the journal has not taken yet; None where that is too much."""
        cursor = now.connection.cursor(binary=True)
        parameters = {
            "ignored": _IGNORED,
            "after": now.position,
            "limit": TAIL_EVENTS_MAX,
            "bytes_max": BATCH_BYTES_MAX,
        }
        await cursor.execute(statement("select_entries"), parameters)
        entries = list(map(Entry._make, await cursor.fetchall()))
        if entries and entries[-1].position < now.head:
            return None
        streams = Uuids({entry.stream_id for entry in entries if entry.state is not None})
        await cursor.execute(statement(JOURNAL_TABLE.select), (streams,))
        rows = dict(map(JOURNAL_TABLE.row_of, await cursor.fetchall()))
        await cursor.execute(statement("select_parked"), (JOURNAL.consumer, streams))
        parked = {
            row[0]: Parked(**dict(zip(Parked.__struct_fields__, row, strict=True)))
            for row in await cursor.fetchall()
        }
        fold = Fold(JOURNAL, rows, parked)
        for entry in entries:
            fold.feed(entry, self._decode)
        return fold

    def _decode(self, topic: str, state: bytes) -> Event:
        event: Event = self._mapper.decode(topic, state)
        return event


async def _snapshot(connection: Connection) -> _Snapshot:
    cursor = await connection.execute(
        statement("select_books_state"), {"consumer": JOURNAL.consumer}
    )
    [(position, head, parked_streams)] = await cursor.fetchall()
    return _Snapshot(connection, position, head, parked_streams)


async def _sums(connection: Connection, until: datetime | None) -> Sums:
    query = statement("select_trial_balance")
    cursor = await connection.execute(query, {"until": until}, prepare=False)
    return {
        account: (int(debits), int(credits_))
        for account, debits, credits_ in await cursor.fetchall()
    }


def _with_tail(sums: Sums, tail: Fold[CustomerBooks], until: datetime | None) -> Sums:
    added = {account: list(sums.get(account, (0, 0))) for account in BOOK_ACCOUNTS}
    for total in tail.tallied.values():
        if until is None or total.day < until:
            added[total.account][0] += total.debits
            added[total.account][1] += total.credits
    return {account: (debits, credits_) for account, (debits, credits_) in added.items()}


def _line(account: BookAccount, debits: int, credits_: int) -> AccountBalance:
    return AccountBalance(
        account=account,
        side=SIDES[account],
        debits=debits,
        credits=credits_,
        balance=balance_of(account, debits, credits_),
    )


async def _customers(connection: Connection, tail: Fold[CustomerBooks], sums: Sums) -> Customers:
    """Those that the tail has touched are compared as it leaves them, all others by the server."""
    apart = Uuids(tail.rows)
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement("compare_customers"), {"apart": list(tail.rows)})
    [(compared, differing, ids, told, posted)] = await cursor.fetchall()
    await cursor.execute(_ACCOUNT_ROWS, (apart,))
    rows = {row[0]: row[1:] for row in await cursor.fetchall()}
    books = {account_id: _compared(row) for account_id, row in tail.rows.items()}
    differing_here = [i for i in sorted(books) if rows.get(i, _NOTHING) != books[i]]
    told = _summed([told, *rows.values()])
    posted = _summed([posted, *books.values()])
    return Customers(
        compared=compared + len(books),
        differing=differing + len(differing_here),
        differing_ids=[*(ids or ()), *differing_here][:20],
        sums=[
            ComparedSum(name=name, journal=mine, accounts=theirs)
            for name, mine, theirs in zip(COMPARED, posted, told, strict=True)
        ],
        posted=tuple(posted) == _of_all(sums),
    )


_NOTHING = (0,) * len(COMPARED)


def _summed(rows: Sequence[Sequence[int]]) -> list[int]:
    return [
        sum(map(int, column)) for column in zip(*(row or _NOTHING for row in rows), strict=True)
    ]


def _compared(books: CustomerBooks) -> tuple[int, ...]:
    """A customer's books as the `accounts` table would tell them, in the order of `COMPARED`."""
    return _told({account: getattr(books, account) for account in BOOK_ACCOUNTS})


def _of_all(sums: Sums) -> tuple[int, ...]:
    nothing = (0, 0)
    return _told({a: balance_of(a, *sums.get(a, nothing)) for a in BOOK_ACCOUNTS})


def _told(balances: Mapping[BookAccount, int]) -> tuple[int, ...]:
    return (
        sum(balances[account] for account in journal.GRANTED.values()),
        balances["pending"],
        balances["available"] - balances["overdraft"],
        balances["held"],
        balances["revenue"] - balances["refunded"],
        balances["expired"],
        balances["voided"],
        balances["refunded"],
    )
