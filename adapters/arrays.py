"""PostgreSQL arrays in binary form, one typed class each: exact types also of no items, at C speed.

psycopg finds an array's type by looking at its elements, one Python call each; here it is known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = struct.Struct("!iiiii")
_EMPTY = struct.Struct("!iii")
_NULL = struct.pack("!i", -1)
_LENGTH = struct.Struct("!i").pack
_INT8 = struct.Struct("!iq").pack
_INT2 = struct.Struct("!ih").pack
_FLOAT8 = struct.Struct("!id").pack
_UUID_LENGTH = _LENGTH(16)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Array:
    """One-dimensional array of one PostgreSQL type; None is NULL."""

    __slots__ = ("items",)
    array_oid: ClassVar[int]
    element_oid: ClassVar[int]
    _header_of_one: ClassVar[bytes]

    def __init_subclass__(cls) -> None:
        cls._header_of_one = _HEADER.pack(1, 1, cls.element_oid, 1, 1)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self.items = items if isinstance(items, list) else list(items)

    @staticmethod
    def element(value: Any) -> bytes:  # noqa: ANN401 - each array has its own items
        """Binary form of one item, its length first."""
        raise NotImplementedError

    def dump(self) -> bytes:
        """Binary form. Raises `ValueError` for an item of another type, or out of its range."""
        items, element = self.items, self.element
        try:
            if len(items) == 1:
                [item] = items
                return self._header_of_one + (_NULL if item is None else element(item))
            if not items:
                return _EMPTY.pack(0, 0, self.element_oid)
            header = _HEADER.pack(1, 1, self.element_oid, len(items), 1)
            first = items[0]
            if items[-1] is first and items.count(first) == len(items):
                return header + (_NULL if first is None else element(first)) * len(items)
            return header + b"".join([_NULL if i is None else element(i) for i in items])
        except (struct.error, AttributeError, TypeError) as error:
            raise ValueError(f"{type(self).__name__} cannot hold this: {error}") from error


class Uuids(Array):
    array_oid, element_oid = 2951, 2950

    @staticmethod
    def element(value: UUID) -> bytes:
        return _UUID_LENGTH + value.bytes


class Bigints(Array):
    array_oid, element_oid = 1016, 20

    @staticmethod
    def element(value: int) -> bytes:
        return _INT8(8, value)


class Smallints(Array):
    array_oid, element_oid = 1005, 21

    @staticmethod
    def element(value: int) -> bytes:
        return _INT2(2, value)


class Floats(Array):
    array_oid, element_oid = 1022, 701

    @staticmethod
    def element(value: float) -> bytes:
        return _FLOAT8(8, value)


class Texts(Array):
    array_oid, element_oid = 1009, 25

    @staticmethod
    def element(value: str) -> bytes:
        data = value.encode()
        return _LENGTH(len(data)) + data


class Byteas(Array):
    array_oid, element_oid = 1001, 17

    @staticmethod
    def element(value: bytes) -> bytes:
        return _LENGTH(len(value)) + value


class Jsons(Byteas):
    """JSON documents that are bytes already, sent as text."""

    array_oid, element_oid = 1009, 25


class Timestamps(Array):
    """Aware datetimes, stored to the microsecond."""

    array_oid, element_oid = 1185, 1184

    @staticmethod
    def element(value: datetime) -> bytes:
        return _INT8(8, (value - _EPOCH) // _MICROSECOND)


ARRAYS: tuple[type[Array], ...] = (
    Uuids,
    Bigints,
    Smallints,
    Floats,
    Texts,
    Jsons,
    Byteas,
    Timestamps,
)


def binary(value: Array | str | None) -> bytes | None:
    """What a parameter is sent as. Raises `ValueError`, as `Array.dump` does."""
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else value.dump()


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.dump()


for _array in ARRAYS:
    psycopg.adapters.register_dumper(
        _array, type(f"{_array.__name__}Dumper", (_ArrayDumper,), {"oid": _array.array_oid})
    )
