"""Lists come in pages: a cursor for the next one, good for the same list, filter and owner."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from service.http.answer import Answer, Headers, json_answer
from service.http.call import Call
from service.http.refusals import InvalidParameter

PAGE_ITEMS_DEFAULT = 50
PAGE_ITEMS_MAX = 200
Item = TypeVar("Item")
Limit = Annotated[int, Meta(ge=1, le=PAGE_ITEMS_MAX, description="Most items on the page.")]
Cursor = Annotated[str, Meta(min_length=1, max_length=500, description="`next_cursor` of a page.")]


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """The query of any list; a list's filter adds its own fields."""

    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """`next_cursor` is null on the last page."""

    items: list[Item]
    next_cursor: str | None
    has_more: bool


def page_limit(call: Call, query: Paging) -> int:
    """Items of the page, within what this installation allows. Raises `InvalidParameter`."""
    items_max = call.service.settings.page_items_max
    if query.limit > items_max:
        raise InvalidParameter("The query is invalid.", ("limit", f"must be at most {items_max}"))
    return query.limit


def position_of(call: Call, query: Paging) -> bytes | None:
    """Sort key of the last item of the page before; None on the first page.

    Raises `InvalidCursor`.
    """
    if query.cursor is None:
        return None
    return call.front.cursors.open(query.cursor, call.principal, _listing(call, query))


def page_answer(call: Call, query: Paging, items: list[Any], after: bytes | None) -> Answer:
    """A page; `after` is the sort key of its last item if there is more, else None."""
    headers: Headers = [(b"cache-control", b"no-store")]
    cursor = None
    if after is not None:
        cursor = call.front.cursors.seal(after, call.principal, _listing(call, query))
        headers.append((b"link", _link(call, replace(query, cursor=cursor))))
    page = Page(items=items, next_cursor=cursor, has_more=cursor is not None)
    return json_answer(page, headers=headers)


def _listing(call: Call, query: Paging) -> bytes:
    """The list and its filter, whatever the size of the pages."""
    same = replace(query, cursor=None, limit=PAGE_ITEMS_DEFAULT)
    return call.path.encode() + b"?" + msgspec.json.encode(same)


def _link(call: Call, query: Paging) -> bytes:
    parameters = {k: v for k, v in msgspec.to_builtins(query).items() if v is not None and v != []}
    target = f"{call.path}?{urlencode(parameters, doseq=True)}"
    return f'<{target}>; rel="next"'.encode()
