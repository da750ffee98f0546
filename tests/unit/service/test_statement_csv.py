"""A statement as CSV is read back word for word, and no cell of it is a formula."""

from __future__ import annotations

import csv
import io
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.queries import Queries, StatementFilter, StatementLine
from projections.statement import Line
from service.statement_csv import COLUMNS, csv_of, harmless
from tests.unit.domain.given import ACCOUNT_ID, NOON

LINE = Line(
    account_id=ACCOUNT_ID,
    version=1,
    at=NOON,
    kind="held",
    amount=5,
    available_change=-5,
    held_change=5,
    available=-2,
    held=5,
    actor="a",
    correlation_id=UUID(int=1),
    task_id=UUID(int=2),
)
FORMULA_SIGNS = {"=", "+", "-", "@"}
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


class Stored:
    """Answers as the tables would, in pages of `page`."""

    def __init__(self, lines: list[Line], page: int = 2) -> None:
        self.lines = lines
        self.page = page
        self.asked = 0

    async def statement(
        self, wanted: StatementFilter, *, past: int | None = None, limit: int
    ) -> list[StatementLine]:
        self.asked += 1
        ordered = sorted(self.lines, key=lambda line: line.version)
        if not wanted.oldest_first:
            ordered.reverse()
        seen = [n for n, line in enumerate(ordered) if line.version == past]
        rest = ordered[seen[0] + 1 :] if seen else ordered
        return [StatementLine(position=9, line=line) for line in rest[: min(limit, self.page)]]


async def _read(stored: Stored, *, oldest_first: bool = True) -> list[dict[str, str]]:
    wanted = StatementFilter(account_id=ACCOUNT_ID, oldest_first=oldest_first)
    pieces = [piece async for piece in csv_of(cast("Queries", stored), wanted)]
    text = b"".join(pieces).decode()
    assert text.startswith(",".join(COLUMNS) + "\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


@given(reason=TEXTS, source_ref=TEXTS)
async def test_any_text_comes_back_as_it_is_or_behind_an_apostrophe(
    reason: str, source_ref: str
) -> None:
    [row] = await _read(Stored([replace(LINE, reason=reason, source_ref=source_ref)]))
    assert (row["reason"], row["source_ref"]) == (harmless(reason), harmless(source_ref))
    for cell, text in ((row["reason"], reason), (row["source_ref"], source_ref)):
        assert cell.replace("'", "") == text.replace("'", ""), "nothing but apostrophes is added"
        assert cell.strip()[:1] not in FORMULA_SIGNS
    assert (row["available_change"], row["available"]) == ("-5", "-2")
    assert (row["task_id"], row["grant_id"]) == (f"task_{UUID(int=2).hex}", "")
    assert (row["at"], row["position"]) == (NOON.isoformat(), "9")


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", " =1", "\u00a0=1", "\x85=1", "\ta", "\ra", "\na"),
        *("\uff1d1", "\uff0b1", "\uff0d1", "\uff201", '=HYPERLINK("http://x","y")'),
        *("\ufeff=1", "\u200b=1", '"=1', "\u2028-1"),
    ],
)
def test_what_a_spreadsheet_would_calculate_is_text(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("order 7;=1+1", "order 7;'=1+1"),
        ("order 7\n=1+1", "order 7\n'=1+1"),
        ("\t=1", "'\t'=1"),
        ('x;"=1"', 'x;\'"=1"'),
        (";; -1;b", ";;' -1;b"),
    ],
)
def test_what_would_be_a_cell_of_its_own_is_text_too(text: str, cell: str) -> None:
    """Where a spreadsheet separates cells by semicolons or tabs, quotes within a cell do not."""
    assert harmless(text) == cell


@given(text=st.text(st.sampled_from("=+-@;\t\n\r \"'a1\ufeff"), max_size=12))
async def test_no_cell_calculates_however_cells_are_separated(text: str) -> None:
    wanted = StatementFilter(account_id=ACCOUNT_ID)
    stored = Stored([replace(LINE, reason=text)])
    sent = b"".join([piece async for piece in csv_of(cast("Queries", stored), wanted)]).decode()
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(sent, newline=""), delimiter=separator):
            first = [cell.lstrip(' \t\r\n"\ufeff')[:1] for cell in row if not _is_number(cell)]
            assert FORMULA_SIGNS.isdisjoint(first), row


def _is_number(cell: str) -> bool:
    return cell.removeprefix("-").isdigit()


@pytest.mark.parametrize(
    "text", ["", " ", "a=1", "1-2", "invoice 7", "'x", 'say "x", y', "a; b", "a, -1", "a\nb"]
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("lines", [0, 1, 199, 200, 201, 400])
async def test_every_line_comes_once_and_what_comes_meanwhile_does_not(
    lines: int, *, oldest_first: bool
) -> None:
    stored = Stored([replace(LINE, version=n) for n in range(1, lines + 1)], page=200)
    wanted = StatementFilter(account_id=ACCOUNT_ID, oldest_first=oldest_first)
    text = ""
    async for piece in csv_of(cast("Queries", stored), wanted):
        text += piece.decode()
        stored.lines.append(replace(LINE, version=1_000 + len(stored.lines)))
    versions = [int(row["version"]) for row in csv.DictReader(io.StringIO(text, newline=""))]
    expected = list(range(1, lines + 1))
    assert versions == (expected if oldest_first else expected[::-1])
