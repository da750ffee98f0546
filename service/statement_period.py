"""The time that a statement is asked for: a month, or from and to a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from domain.errors import InvalidInput
from service.span import guard_span

Month = Annotated[
    str,
    Meta(
        pattern="^[1-9][0-9]{3}-(0[1-9]|1[0-2])$",
        max_length=7,  # `$` lets a last line feed pass
        description="A month (UTC), such as 2026-11.",
    ),
]
_YEAR_LAST = 9_998
DECEMBER = 12


def month_of(period: str) -> tuple[datetime, datetime]:
    """Its begin and its end. Raises `ValueError` for what is no month."""
    year, month = map(int, period.split("-"))
    if year > _YEAR_LAST:
        raise ValueError(f"must be in the years up to {_YEAR_LAST}")
    begin = datetime(year, month, 1, tzinfo=UTC)
    over = month == DECEMBER
    return begin, datetime(year + over, 1 if over else month + 1, 1, tzinfo=UTC)


def bounds_of(
    period: str | None, since: datetime | None, until: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """Raises `InvalidInput` for a month beside a time, for no month, and where `since` is last."""
    if period is None:
        guard_span(since, until)
        return since, until
    if since is not None or until is not None:
        raise _invalid("takes the place of since and until")
    try:
        return month_of(period)
    except ValueError as error:
        raise _invalid(str(error)) from error


def _invalid(sentence: str) -> InvalidInput:
    return InvalidInput("The period is invalid.", ("/period", sentence))
