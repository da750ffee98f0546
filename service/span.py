"""From when to when: one check of what is asked for, whatever is asked."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TypeVar

from domain.errors import InvalidInput

T = TypeVar("T", date, datetime)


def guard_span(since: T | None, until: T | None, *, days_max: int | None = None) -> None:
    """Raises `InvalidInput` where `since` is after `until`; a side that is None has no bound.

    With `days_max` there must also be some time between the two, and no more than so many days.
    """
    if since is None or until is None:
        return
    if since > until:
        raise _invalid("must not be after until")
    if days_max is not None and not timedelta(0) < until - since <= timedelta(days=days_max):
        raise _invalid(f"must be before until, by at most {days_max} days")


def _invalid(sentence: str) -> InvalidInput:
    return InvalidInput("The span of time is invalid.", ("/since", sentence))
