"""Aggregates without a table of their own, as the append has left them: one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from adapters.decision import Cursor, Find
from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.aggregate import LEDGERS, Aggregate, Stream

PAGE_ROWS_MAX = 200
_FIRST = UUID(int=0)


class DocumentView(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `documents`; `data` is a JSON object, the aggregate's own."""

    id: UUID
    kind: str
    version: int
    account_id: UUID | None
    name: str | None
    status: str
    due_at: datetime | None
    created_at: datetime
    data: Raw


class DocumentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Each condition that is given must hold; `data` are texts that stand in the document."""

    kind: str
    account_id: UUID | None = None
    statuses: tuple[str, ...] = ()
    name: str | None = None
    data: Mapping[str, str] = {}


class Documents:
    """Each method is one query; raises `Unavailable`. Limits are cut to `PAGE_ROWS_MAX`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def document(self, kind: str, document_id: UUID) -> DocumentView | None:
        rows = await fetch(
            self._pool, statement("select_document"), {"kind": kind, "id": document_id}
        )
        return document_view(rows[0]) if rows else None

    async def documents(
        self,
        wanted: DocumentFilter,
        *,
        before: tuple[datetime, UUID] | None = None,
        limit: int = PAGE_ROWS_MAX,
    ) -> list[DocumentView]:
        """Newest first, by (`created_at`, `id`), from below `before`."""
        parameters = {
            "kind": wanted.kind,
            "account_id": wanted.account_id,
            "statuses": list(wanted.statuses) or None,
            "name": wanted.name,
            "data": msgspec.json.encode(wanted.data).decode() if wanted.data else None,
            "before_at": before[0] if before else None,
            "before_id": before[1] if before else _FIRST,
            "limit": min(limit, PAGE_ROWS_MAX),
        }
        rows = await fetch(self._pool, statement("select_documents"), parameters, prepare=False)
        return [document_view(row) for row in rows]


def find_due(aggregate: Aggregate, limit: int) -> Find:
    """At most `limit` of a kind that are due by the database's clock, with their ledgers.

    Runs under the log's lock.
    """

    async def find(cursor: Cursor, taken: object) -> list[Stream]:  # noqa: ARG001 - as `Find` asks
        await cursor.execute(
            statement("select_due_documents"),
            {"kind": aggregate.name, "limit": limit},
            prepare=True,
        )
        rows = await cursor.fetchall()
        accounts = dict.fromkeys(row[1] for row in rows if row[1] is not None)
        return [Stream(aggregate, row[0]) for row in rows] + [Stream(LEDGERS, i) for i in accounts]

    return find


def document_view(row: Sequence[Any]) -> DocumentView:
    """A row with all its columns, in the order of the struct."""
    *columns, data = row
    values = [*columns, Raw(data.encode())]
    return DocumentView(**dict(zip(DocumentView.__struct_fields__, values, strict=True)))
