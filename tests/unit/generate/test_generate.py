"""A generated file that differs from what the code says is found, and brought up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from generate.__main__ import TOP, differences, generated, main, write
from generate.settings_table import PATH, settings_table
from service.settings import Settings, variable_of


def test_a_file_that_is_missing_stale_or_right_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "right.md").write_text("same\n")
    (tmp_path / "stale.md").write_text("old\n")
    files = {"right.md": "same\n", "stale.md": "new\n", "deep/missing.md": "new\n"}
    assert [text.splitlines()[0] for text in differences(files, tmp_path)] == [
        "--- stale.md",
        "--- deep/missing.md",
    ]
    assert write(files, tmp_path) == ["stale.md", "deep/missing.md"]
    assert list(differences(files, tmp_path)) == []


def test_a_long_difference_is_shortened(tmp_path: Path) -> None:
    [difference] = differences({"long.md": "line\n" * 1_000}, tmp_path)
    assert difference.endswith("… and 963 lines more")


def test_each_file_ends_in_one_newline() -> None:
    assert generated([lambda: {"a": "text", "b": "text\n\n"}]) == {"a": "text\n", "b": "text\n"}


def test_two_generators_of_one_file_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.md is generated twice"):
        generated([lambda: {"a.md": ""}, lambda: {"a.md": ""}])


def test_the_check_fails_on_a_difference_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("generate.__main__.GENERATORS", ())
    monkeypatch.setattr("generate.__main__.generated", lambda: {"docs/never.md": "text\n"})
    assert main(["--check"]) == 1
    assert "docs/never.md" in capsys.readouterr().out
    assert not (TOP / "docs" / "never.md").exists()


def test_the_settings_table_names_every_setting_once() -> None:
    lines = [line for line in settings_table()[PATH].splitlines() if line.startswith("| `")]
    named = [line.split("|")[1].strip(" `") for line in lines]
    assert named == [variable_of(field) for field in Settings.__struct_fields__]
    assert all(line.count("|") == 6 and line.split("|")[5].strip() for line in lines)
