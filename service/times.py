"""Times that may be sent: those that every reader can write, whatever zone it shows them in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct

TIME_FIRST = datetime(1000, 1, 1, tzinfo=UTC)
TIME_LAST = datetime(9999, 12, 31, tzinfo=UTC)
"""A day before no calendar has a next one, so that any offset from UTC can be added."""


def guard_time(at: datetime) -> None:
    """Raises `ValueError` with what it must be."""
    if not TIME_FIRST <= at <= TIME_LAST:
        raise ValueError(f"must be from {TIME_FIRST:%Y-%m-%d} to {TIME_LAST:%Y-%m-%d} (UTC)")


def unusable_times(given: Struct, below: str = "") -> Iterator[tuple[str, str]]:
    """Where in what was sent (JSON pointers below `below`) a time cannot be used, and why."""
    for field, name in zip(given.__struct_fields__, given.__struct_encode_fields__, strict=True):
        value = getattr(given, field)
        if isinstance(value, datetime):
            try:
                guard_time(value)
            except ValueError as error:
                yield f"{below}/{name}", str(error)
        elif isinstance(value, Struct):
            yield from unusable_times(value, f"{below}/{name}")
