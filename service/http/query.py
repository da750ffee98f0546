"""Query parameters as a struct: none unknown, none twice, each within its bounds."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from service.http.refusals import InvalidParameter
from service.times import unusable_times

PARAMETERS_MAX = 50
T = TypeVar("T", bound=msgspec.Struct)


def read_query(query: bytes, kind: type[T]) -> T:
    """The parameters as `kind`; those whose default is a tuple may come several times.

    Raises `InvalidParameter`.
    """
    given: dict[str, str | list[str]] = {}
    several = _several(kind)
    for name, value in _pairs(query):
        if name not in kind.__struct_encode_fields__:
            raise _invalid(name, "is not a parameter of this route")
        if name in several:
            given.setdefault(name, [])
            given[name].append(value)  # type: ignore[union-attr]
        elif name in given:
            raise _invalid(name, "is given twice")
        else:
            given[name] = value
    try:
        query_ = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$.")
        raise _invalid(path.rstrip("`").partition("[")[0], sentence) from error
    for pointer, sentence in unusable_times(query_):
        raise _invalid(pointer.removeprefix("/"), sentence)
    return query_


def _several(kind: type[msgspec.Struct]) -> frozenset[str]:
    fields = msgspec.structs.fields(kind)
    return frozenset(field.encode_name for field in fields if field.default == ())


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=PARAMETERS_MAX,
        )
    except (UnicodeError, ValueError) as error:
        raise InvalidParameter("The query cannot be read.") from error
    for name, value in pairs:
        if "\0" in value or "\0" in name:
            raise _invalid(name.replace("\0", ""), "holds a NUL character")
    return pairs


def _invalid(name: str, sentence: str) -> InvalidParameter:
    return InvalidParameter("The query is invalid.", (name, sentence))
