"""The books as operators ask for them: whole UTC days, within bounds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from adapters.books import Books, Bucket, PeriodTotal, TrialBalance
from service.span import guard_span

DAYS_DEFAULT = 31
DAYS_MAX = 3_660
DAY_LAST = date(9_000, 1, 1)
"""No later day is asked for, so that there is always a next one."""


async def trial_balance(books: Books, day: date | None) -> TrialBalance:
    """As of now, or as of the end of a day (UTC).

    Raises `ValueError` with what the day must be.
    """
    if day is not None and day > DAY_LAST:
        raise ValueError(f"must be at most {DAY_LAST}")
    return await books.trial_balance(None if day is None else begin_of(day) + timedelta(days=1))


async def totals(books: Books, span: tuple[date, date], bucket: Bucket) -> list[PeriodTotal]:
    """Of the days from the first to before the second. Raises `InvalidInput` for too many rows."""
    since, until = span
    return await books.totals(begin_of(since), begin_of(until), bucket)


def span_of(now: datetime, since: date | None, until: date | None) -> tuple[date, date]:
    """The days asked for, the last 31 with today by default.

    Raises `InvalidInput`.
    """
    until = until or now.astimezone(UTC).date() + timedelta(days=1)
    if since is None:
        since = date.fromordinal(max(1, until.toordinal() - DAYS_DEFAULT))
    guard_span(since, until, days_max=DAYS_MAX)
    return since, until


def begin_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
