"""Pages of aggregates that are shown from `documents`: newest first, by a signed cursor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.documents import DocumentFilter, DocumentView
from service.http.answer import Answer
from service.http.call import Call
from service.http.pages import Paging, page_answer, page_limit, position_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


async def document_page(
    call: Call, query: Paging, wanted: DocumentFilter, show: Callable[[DocumentView], Any]
) -> Answer:
    """The page that `query` asks for. Raises `InvalidParameter`, `InvalidCursor`, `Unavailable`."""
    views, position = await document_views(call, query, wanted)
    return page_answer(call, query, list(map(show, views)), position)


async def document_views(
    call: Call, query: Paging, wanted: DocumentFilter
) -> tuple[list[DocumentView], bytes | None]:
    """What stands on that page, and where it ends if another one follows. Raises the same."""
    limit = page_limit(call, query)
    position = position_of(call, query)
    documents = call.service.documents
    before = _read(position) if position else None
    views = await documents.documents(wanted, before=before, limit=limit)
    after = (views[-1].created_at, views[-1].id) if len(views) == limit else None
    if after and not await documents.documents(wanted, before=after, limit=1):
        after = None
    return views, _written(*after) if after else None


def _written(created_at: datetime, document_id: UUID) -> bytes:
    return ((created_at - _EPOCH) // _MICROSECOND).to_bytes(8) + document_id.bytes


def _read(position: bytes) -> tuple[datetime, UUID]:
    return _EPOCH + int.from_bytes(position[:8]) * _MICROSECOND, UUID(bytes=position[8:])
