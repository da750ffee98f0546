"""PostgreSQL arrays in binary form, one typed class each: exact types even when empty or all NULL, at C speed.

psycopg finds an array's type by looking at its elements, one Python call each; here the type is known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
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
    element: ClassVar[Callable[[Any], bytes]]

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self.items = items if isinstance(items, list) else list(items)

    def dump(self) -> bytes:
        if not self.items:
            return _EMPTY.pack(0, 0, self.element_oid)
        element = type(self).element
        header = _HEADER.pack(1, 1, self.element_oid, len(self.items), 1)
        return header + b"".join([_NULL if i is None else element(i) for i in self.items])


def _uuid(value: UUID) -> bytes:
    return _UUID_LENGTH + value.bytes


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data


def _bytea(value: bytes) -> bytes:
    return _LENGTH(len(value)) + value


def _timestamp(value: datetime) -> bytes:
    return _INT8(8, (value - _EPOCH) // _MICROSECOND)


class Uuids(Array):
    array_oid, element_oid, element = 2951, 2950, staticmethod(_uuid)


class Bigints(Array):
    array_oid, element_oid = 1016, 20
    element = staticmethod(lambda value: _INT8(8, value))


class Smallints(Array):
    array_oid, element_oid = 1005, 21
    element = staticmethod(lambda value: _INT2(2, value))


class Floats(Array):
    array_oid, element_oid = 1022, 701
    element = staticmethod(lambda value: _FLOAT8(8, value))


class Texts(Array):
    array_oid, element_oid, element = 1009, 25, staticmethod(_text)


class Jsons(Array):
    """JSON documents that are bytes already, sent as text."""

    array_oid, element_oid, element = 1009, 25, staticmethod(_bytea)


class Byteas(Array):
    array_oid, element_oid, element = 1001, 17, staticmethod(_bytea)


class Timestamps(Array):
    """Aware datetimes, stored to the microsecond."""

    array_oid, element_oid, element = 1185, 1184, staticmethod(_timestamp)


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


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.dump()


for _array in ARRAYS:
    psycopg.adapters.register_dumper(
        _array, type(f"{_array.__name__}Dumper", (_ArrayDumper,), {"oid": _array.array_oid})
    )
