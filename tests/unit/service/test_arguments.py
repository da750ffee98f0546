"""What is typed as INPUT (the text itself, a file, the standard input), or as a time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rich_click as click

from service.cli.arguments import read_document, read_input, read_time
from service.cli.group import read_members


def test_a_document_is_typed_in_a_file_or_piped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"title":"é"}', encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"n":2}'))
    assert read_document('{"n":1}') == b'{"n":1}'
    assert read_input(f"@{file}") == {"title": "é"}
    assert read_input("-") == {"n": 2}
    assert read_members('{"n":3}') == ({"n": 3}, [])


@pytest.mark.parametrize("read", [read_input, read_members])
@pytest.mark.parametrize("content", [None, b"\xff"], ids=["missing", "no_utf8"])
def test_what_cannot_be_read_is_said(
    read: Callable[[str], object], content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "input.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(click.UsageError, match="INPUT cannot be read"):
        read(f"@{file}")


@pytest.mark.parametrize("read", [read_input, read_members])
def test_what_no_terminal_can_type_cannot_be_read(read: Callable[[str], object]) -> None:
    with pytest.raises(click.UsageError, match="INPUT cannot be read"):
        read('{"n":"\udcff"}')


def test_what_is_no_json_object_is_said() -> None:
    with pytest.raises(click.UsageError, match="INPUT is no JSON object"):
        read_input("[1]")
    with pytest.raises(click.UsageError, match="INPUT is neither an input nor members"):
        read_members("{")
    with pytest.raises(click.UsageError, match="INPUT has no members"):
        read_members("[]")


@pytest.mark.parametrize("typed", ["2027-01-01", "2027-01-01T10:30", "2027-01-01 10:30:59"])
def test_the_time_that_is_proposed_instead_is_taken(typed: str) -> None:
    with pytest.raises(click.UsageError, match="add the offset from UTC") as refused:
        read_time("--since", typed)
    proposed = re.search(r"such as (\S+)\.$", refused.value.message)
    assert proposed is not None
    taken = read_time("--since", proposed[1])
    assert taken == datetime.fromisoformat(typed).replace(second=0, tzinfo=UTC)


@pytest.mark.parametrize("typed", ["", "soon", "2027-01-01Z", "2027-02-30T00:00Z"])
def test_what_is_no_time_is_refused_with_one(typed: str) -> None:
    with pytest.raises(click.UsageError, match="is no time such as 2026-01-31T12:00Z") as refused:
        read_time("--since", typed)
    assert "--since" in refused.value.message
