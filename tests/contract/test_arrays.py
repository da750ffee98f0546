"""Whatever is sent as an array arrives as it was, equal items and NULLs included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.arrays import (
    Array,
    Bigints,
    Byteas,
    Floats,
    Smallints,
    Texts,
    Timestamps,
    Uuids,
    binary,
)

NOON = datetime(2026, 2, 28, 12, tzinfo=UTC)
PAIRS: list[tuple[type[Array], Any, Any]] = [
    (Uuids, UUID(int=1), UUID(int=2)),
    (Bigints, 1, -(2**63)),
    (Smallints, 7, -1),
    (Floats, 0.5, -1e300),
    (Texts, "né", ""),
    (Byteas, b"\x00\xff", b""),
    (Timestamps, NOON, NOON - timedelta(days=99_999, microseconds=1)),
]


@pytest.mark.parametrize(("array", "one", "other"), PAIRS, ids=[p[0].__name__ for p in PAIRS])
def test_items_arrive_as_they_were(database: str, array: type[Array], one: Any, other: Any) -> None:
    rows = [
        *([], [one], [None], [one, other], [one] * 3, [None] * 3),
        *([one, one, None], [one, other, one], [None, one, None], [one, None, one]),
    ]
    with psycopg.connect(database) as connection, connection.cursor(binary=True) as cursor:
        for items in rows:
            [(found,)] = cursor.execute("SELECT %b", (array(items),)).fetchall()
            assert found == items


@pytest.mark.parametrize(
    ("array", "items"),
    [(Bigints, [2**63]), (Bigints, ["1"] * 2), (Uuids, [1, 1]), (Texts, [b"a"]), (Timestamps, [3])],
)
def test_items_of_another_sort_are_refused(array: type[Array], items: list[Any]) -> None:
    with pytest.raises(ValueError, match="cannot hold this"):
        binary(array(items))
