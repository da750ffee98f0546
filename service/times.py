"""Times that may be sent: those that every reader can write, whatever zone it shows them in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

from msgspec import Struct
from msgspec.inspect import DateTimeType, Metadata, StructType, Type, UnionType, type_info

TIME_FIRST = datetime(1000, 1, 1, tzinfo=UTC)
TIME_LAST = datetime(9999, 12, 31, tzinfo=UTC)
"""A day before no calendar has a next one, so that any offset from UTC can be added."""


def guard_time(at: datetime) -> None:
    """Raises `ValueError` with what it must be."""
    if not TIME_FIRST <= at <= TIME_LAST:
        raise ValueError(f"must be from {TIME_FIRST:%Y-%m-%d} to {TIME_LAST:%Y-%m-%d} (UTC)")


def unusable_times(given: Struct) -> list[tuple[str, str]]:
    """Where in what was sent (JSON pointers) a time cannot be used, and why."""
    for field, _ in _timed(type(given)):
        if getattr(given, field) is not None:
            return [*_unusable(given, "")]
    return []


def _unusable(given: Struct, below: str) -> Iterator[tuple[str, str]]:
    for field, name in _timed(type(given)):
        value = getattr(given, field)
        if isinstance(value, datetime):
            try:
                guard_time(value)
            except ValueError as error:
                yield f"{below}/{name}", str(error)
        elif isinstance(value, Struct):
            yield from _unusable(value, f"{below}/{name}")


@cache
def _timed(struct: type[Struct]) -> tuple[tuple[str, str], ...]:
    """The fields that may hold a time, or a struct that may, with the names they are sent by."""
    info = type_info(struct)
    assert isinstance(info, StructType)
    return tuple((field.name, field.encode_name) for field in info.fields if _may_hold(field.type))


def _may_hold(kind: Type) -> bool:
    if isinstance(kind, Metadata):
        return _may_hold(kind.type)
    if isinstance(kind, UnionType):
        return any(map(_may_hold, kind.types))
    return isinstance(kind, DateTimeType | StructType)
