"""Any event within its bounds, and events that break one bound each, both from the types alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect, json
from msgspec.structs import replace

from domain.event import Event

letters = st.characters(exclude_categories=["Cs"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(letters, max_size=10)
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(letters, max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
UNBOUNDED: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.RawType: documents.map(json.encode).map(msgspec.Raw),
    inspect.UUIDType: st.uuids(),
    inspect.DateTimeType: moments,
    inspect.DateType: st.dates(),
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
}


def events(event_type: type[Event]) -> st.SearchStrategy[Event]:
    return _structs(event_type)


@cache
def _fields_of(struct_type: type) -> inspect.StructType:
    info = inspect.type_info(struct_type)
    assert isinstance(info, inspect.StructType)
    return info


@cache
def _structs(struct_type: type) -> st.SearchStrategy[Any]:
    info = _fields_of(struct_type)
    fields = {field.name: _values(field.type) for field in info.fields}
    return st.builds(struct_type, **fields)


def _values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.Metadata(type=inner):
            return _values(inner)
        case inspect.UnionType(types=types):
            return st.one_of([_values(one) for one in types])
        case inspect.VarTupleType(item_type=item):
            return st.lists(_values(item), max_size=3).map(tuple)
        case inspect.StructType(cls=cls):
            return _structs(cls)
        case _:
            return _plain_values(type_)


def _plain_values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.IntType(ge=ge, le=le):
            return st.integers(ge, le)
        case inspect.StrType(min_length=shortest, max_length=longest):
            assert longest is not None
            short = st.text(letters, min_size=shortest or 0, max_size=min(longest, 20))
            return short | st.just("長" * longest)
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case _:
            return UNBOUNDED[type(type_)]


def leaves(type_: inspect.Type, path: str = "") -> Iterator[tuple[str, inspect.Type]]:
    """Each value inside a type with the path that leads there; a union gives each of its kinds."""
    match type_:
        case inspect.Metadata(type=inner):
            yield from leaves(inner, path)
        case inspect.UnionType(types=types):
            for one in types:
                yield from leaves(one, path)
        case inspect.VarTupleType(item_type=item):
            yield from leaves(item, f"{path}[]")
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from leaves(field.type, f"{path}.{field.name}")
        case _:
            yield path, type_


def breaking(event: Event) -> Iterator[tuple[str, Event]]:
    """`event` with one bound broken at a time, anywhere in it, and the path of what was broken."""
    yield from _breaking(event, _fields_of(type(event)), "")


def _breaking(value: Any, type_: inspect.Type, path: str) -> Iterator[tuple[str, Any]]:
    match type_:
        case inspect.Metadata(type=inner):
            yield from _breaking(value, inner, path)
        case inspect.UnionType(types=types):
            for one in types:
                yield from _breaking(value, one, path)
        case inspect.StructType() if value is not None:
            yield from _breaking_fields(value, type_, path)
        case inspect.VarTupleType(item_type=item):
            for where, broken in _breaking(value[0], item, f"{path}[]") if value else ():
                yield where, (broken, *value[1:])
        case _:
            yield from ((path, broken) for broken in _beyond(type_))


def _breaking_fields(value: Any, type_: inspect.StructType, path: str) -> Iterator[tuple[str, Any]]:
    for field in type_.fields:
        inner = getattr(value, field.name)
        for where, broken in _breaking(inner, field.type, f"{path}.{field.name}"):
            yield where, replace(value, **{field.name: broken})


def _beyond(type_: inspect.Type) -> Iterator[object]:
    """Values just outside a type, and of the next type over."""
    match type_:
        case inspect.IntType(ge=ge, le=le):
            assert ge is not None
            assert le is not None
            yield from (ge - 1, le + 1, 2**63, 2**64, -(2**63) - 1, "1", 1.5)
        case inspect.StrType(min_length=shortest, max_length=longest):
            assert longest is not None
            yield "x" * (longest + 1)
            yield 1
            if shortest:
                yield ""
        case inspect.DateTimeType():
            yield datetime(2025, 1, 1)  # noqa: DTZ001 - no offset is what is wrong
            yield "yesterday"
        case inspect.LiteralType():
            yield "something else"
        case inspect.UUIDType() | inspect.DateType():
            yield "1"
        case inspect.RawType():
            yield msgspec.Raw(b"{")
        case inspect.BoolType():
            yield "true"
