"""What import-linter's contracts cannot say: what the pure rooms may import at all, and names."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
ROOMS = ("adapters", "domain", "generate", "projections", "service", "tallystick")

# Of the standard library, what does I/O, waits, draws lots or reads a clock.
IMPURE = frozenset(
    {
        "asyncio", "concurrent", "fcntl", "http", "multiprocessing", "os", "random", "secrets",
        "select", "selectors", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile",
        "threading", "time", "urllib.request",
    }
)  # fmt: skip
LIBRARIES = {
    "domain": {
        "domain", "eventsourcing.domain", "eventsourcing.persistence", "immutables", "msgspec",
        "transitions",
    },
    "projections": {"domain", "immutables", "msgspec", "projections"},
}  # fmt: skip
NAMES_THAT_SAY_NOTHING = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}


def modules(room: str) -> list[Path]:
    return sorted((TOP / room).rglob("*.py"))


def imported(code: str) -> Iterator[str]:
    """Every module name in an import statement, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, packages: set[str] | frozenset[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def refused(code: str, room: str) -> list[str]:
    """The imports that a pure room may not have."""
    return [
        name
        for name in imported(code)
        if not is_within(name, LIBRARIES[room])
        and (name.split(".")[0] not in sys.stdlib_module_names or is_within(name, IMPURE))
    ]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import msgspec\nfrom datetime import datetime", []),
        ("from eventsourcing.domain import Aggregate", []),
        ("from eventsourcing.postgres import X", ["eventsourcing.postgres.X"]),
        ("def late():\n    import psycopg", ["psycopg"]),
        ("from time import monotonic", ["time.monotonic"]),
        ("import os.path", ["os.path"]),
        ("from adapters import clock", ["adapters.clock"]),
        ("from urllib.parse import urlsplit", []),
        ("from urllib import request", ["urllib.request"]),
    ],
)
def test_imports_are_told_apart(code: str, found: list[str]) -> None:
    assert refused(code, "domain") == found


@pytest.mark.parametrize("room", LIBRARIES)
def test_a_pure_room_imports_nothing_that_acts(room: str) -> None:
    found = {str(path): refused(path.read_text(), room) for path in modules(room)}
    assert {path: names for path, names in found.items() if names} == {}


def test_every_module_is_named_for_what_it_holds() -> None:
    names = {path for room in ROOMS for path in modules(room)}
    assert len(names) > len(ROOMS)
    assert [path for path in names if path.stem in NAMES_THAT_SAY_NOTHING] == []
