"""The SQL that is more than a line, one statement a file, loaded by name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString


@cache
def statement(name: str) -> LiteralString:
    """Text of `<name>.sql` in this folder."""
    return (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
