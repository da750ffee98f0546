"""Writes, or with `--check` compares, every generated file; run from the project's top."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from generate.cli import command_line
from generate.error_table import error_table
from generate.event_catalogue import event_catalogue
from generate.lifecycle_diagrams import lifecycle_diagrams
from generate.openapi import openapi
from generate.settings_table import settings_table

Generator = Callable[[], dict[str, str]]

GENERATORS: tuple[Generator, ...] = (
    command_line,
    error_table,
    event_catalogue,
    lifecycle_diagrams,
    openapi,
    settings_table,
)
TOP = Path(__file__).parents[1]
DIFFERENCE_LINES_MAX = 40


def generated(generators: Sequence[Generator] = GENERATORS) -> dict[str, str]:
    """All files by their path from the top, each ending in one newline.

    Raises ValueError if two generators want the same path.
    """
    files: dict[str, str] = {}
    for generator in generators:
        for path, text in generator().items():
            if path in files:
                raise ValueError(f"{path} is generated twice")
            files[path] = text.rstrip("\n") + "\n"
    return files


def write(files: dict[str, str], top: Path = TOP) -> list[str]:
    """Bring the files up to date; the paths of those that were not."""
    stale = [path for path, text in files.items() if _read(top / path) != text]
    for path in stale:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(files[path], encoding="utf-8")
    return stale


def differences(files: dict[str, str], top: Path = TOP) -> Iterator[str]:
    """For each file that is not up to date, how it differs, shortened."""
    for path, text in files.items():
        there = _read(top / path)
        if there != text:
            lines = list(
                difflib.unified_diff(
                    there.splitlines(), text.splitlines(), path, f"{path} (generated)", lineterm=""
                )
            )
            rest = len(lines) - DIFFERENCE_LINES_MAX
            more = [f"… and {rest} lines more"] if rest > 0 else []
            yield "\n".join([*lines[:DIFFERENCE_LINES_MAX], *more])


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 if `--check` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    if not parser.parse_args(arguments).check:
        for path in write(generated()):
            print(f"wrote {path}")
        return 0
    found = list(differences(generated()))
    for difference in found:
        print(difference)
    if found:
        print(
            f"{len(found)} generated files are out of date: run `make generate`.", file=sys.stderr
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
