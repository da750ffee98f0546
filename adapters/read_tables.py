"""Where each projection behind the log keeps its rows: the tables' columns and their SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec

from adapters.arrays import Array, Bigints, Smallints, Texts, Timestamps, Uuids
from projections.fold import Written
from projections.journal import JOURNAL, CustomerBooks, DayTotal
from projections.projection import Projection
from projections.statement import STATEMENT, Line
from projections.statistics import STATISTICS, Count, TaskClock

Columns = Mapping[str, type[Array]]
"""A struct's fields, in its order, with the type of array each is sent as."""


class ReadTable(msgspec.Struct, frozen=True, kw_only=True):
    """A projection and its tables. The names are those of files in `adapters/sql`.

    `select` takes keys and gives the rows' fields in order, the key first; `insert` takes the
    positions, then the fields, as arrays; `add` takes the tally's fields and adds to the sums that
    exist.
    """

    projection: Projection[Any]
    columns: Columns
    select: str
    insert: str
    add: str | None = None
    add_columns: Columns = {}

    def row_of(self, values: Sequence[object]) -> tuple[UUID, Any]:
        """Key and row of what `select` gave."""
        row = self.projection.row(**dict(zip(self.columns, values, strict=True)))
        return getattr(row, next(iter(self.columns))), row

    def insert_values(self, written: Sequence[Written[Any]]) -> list[Array]:
        rows = [item.row for item in written]
        return [Bigints([item.position for item in written]), *_arrays(self.columns, rows)]

    def add_values(self, counts: Iterable[Any]) -> list[Array]:
        return _arrays(self.add_columns, list(counts))


def _arrays(columns: Columns, rows: Sequence[Any]) -> list[Array]:
    return [array(list(map(attrgetter(name), rows))) for name, array in columns.items()]


def _columns(row: type[msgspec.Struct], *arrays: type[Array]) -> Columns:
    return dict(zip(row.__struct_fields__, arrays, strict=True))


STATEMENT_TABLE = ReadTable(
    projection=STATEMENT,
    columns=_columns(
        Line,
        Uuids,
        Bigints,
        Timestamps,
        Texts,
        *[Bigints] * 5,
        Texts,
        *[Uuids] * 4,
        *[Texts] * 2,
        Uuids,
        Bigints,
    ),
    select="select_statement_tails",
    insert="insert_statement_lines",
)
STATISTICS_TABLE = ReadTable(
    projection=STATISTICS,
    columns=_columns(TaskClock, Uuids, Texts, Timestamps, Timestamps),
    select="select_statistics_tasks",
    insert="upsert_statistics_tasks",
    add="add_statistics_counts",
    add_columns=_columns(Count, Timestamps, *[Texts] * 4, Smallints, *[Bigints] * 4),
)
JOURNAL_TABLE = ReadTable(
    projection=JOURNAL,
    columns=_columns(CustomerBooks, Uuids, *[Bigints] * 12),
    select="select_journal_customers",
    insert="upsert_journal_customers",
    add="add_journal_totals",
    add_columns=_columns(DayTotal, Timestamps, *[Texts] * 2, *[Bigints] * 2),
)
BEHIND = (STATEMENT_TABLE, STATISTICS_TABLE, JOURNAL_TABLE)
"""Every read model that a projector keeps."""
