"""A statement as CSV (RFC 4180), safe to be opened in a spreadsheet.

A text that a spreadsheet would take for a formula gets an apostrophe before it; our own numbers
stay as they are. So does a formula within a text that would begin a cell for one that separates
cells by semicolons or tabs, as many do by their language.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Sequence

import msgspec

from adapters.queries import PAGE_ROWS_MAX, Queries, StatementFilter, StatementLine
from service.identifiers import Prefix, public_id

COLUMNS = (
    *("position", "version", "at", "kind", "amount", "available_change", "held_change"),
    *("available", "held", "task_id", "group_id", "hold_id", "grant_id", "source_ref", "reason"),
)
_IDS: dict[str, Prefix] = {
    "task_id": "task",
    "group_id": "group",
    "hold_id": "hold",
    "grant_id": "grant",
}
_TEXTS = frozenset({"source_ref", "reason"})
_FORMULA = re.compile(
    r"""
    ^(?=[\t\r\n])  # signs that may hide one
    | (?:^|(?<=[;\t\r\n]))  # where a cell begins, or would
    (?=[\s"\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]*  # what is not seen, or left out
    [=+\-@\uff1d\uff0b\uff0d\uff20])  # the full-width ones too
    """,
    re.VERBOSE,
)
"""Where a formula begins."""


async def csv_of(queries: Queries, wanted: StatementFilter) -> AsyncIterator[bytes]:
    """The heading, then page after page, with the lines that there are at the begin.

    Raises `Unavailable`.
    """
    newest = await queries.statement(msgspec.structs.replace(wanted, oldest_first=False), limit=1)
    yield _written([COLUMNS])
    if not newest:
        return
    last, past = newest[0].line.version, None
    while page := await queries.statement(wanted, past=past, limit=PAGE_ROWS_MAX):
        yield _written([_cells(line) for line in page if line.line.version <= last])
        past = page[-1].line.version
        if len(page) < PAGE_ROWS_MAX or (wanted.oldest_first and past >= last):
            return


def harmless(text: str) -> str:
    """The text as a cell that no spreadsheet calculates."""
    return _FORMULA.sub("'", text)


def _cells(recorded: StatementLine) -> Sequence[object]:
    return [_cell(recorded, name) for name in COLUMNS]


def _cell(recorded: StatementLine, name: str) -> object:
    if name == "position":
        return recorded.position
    value = getattr(recorded.line, name)
    if value is None:
        return ""
    if name in _IDS:
        return public_id(_IDS[name], value)
    if name in _TEXTS:
        return harmless(value)
    return value.isoformat() if name == "at" else value


def _written(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
