"""What is typed as INPUT: the text itself, a file, or the standard input."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import rich_click as click

from service.cli.arguments import read_document, read_input
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
