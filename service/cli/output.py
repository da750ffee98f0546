"""How results are printed: for people as aligned text, with `--json` as one JSON value a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import rich_click as click

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])
_NOTHING = "-"


def json_option(function: Function) -> Function:
    """`--json`, handed to the command as `as_json`."""
    option: Callable[[Function], Function] = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, one value a line."
    )
    return option(function)


def say(sentence: str) -> None:
    """Talk, on stderr."""
    click.echo(printable(sentence), err=True)


def print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value, enc_hook=str))


def print_fields(fields: Mapping[str, object]) -> None:
    """One thing: a line for each field that has a value."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", {}, ())}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name.ljust(width)}  {cell(value)}")


def print_table(columns: Mapping[str, Callable[[T], object]], items: Iterable[T]) -> None:
    """Many things: a heading, and a line for each; never cut, so that scripts can read it too."""
    rows = [[cell(read(item)) for read in columns.values()] for item in items]
    if not rows:
        say("Nothing there.")
        return
    print_rows([name.upper() for name in columns], rows)


def print_rows(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [heading, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    for line in lines:
        text = "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def cell(value: object) -> str:
    """A value in one line, with nothing in it that a terminal would obey."""
    match value:
        case None:
            return _NOTHING
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case dict() | list() | msgspec.Struct():
            return printable(msgspec.json.encode(value).decode())
        case _:
            return printable(str(value)) or _NOTHING


def printable(text: str) -> str:
    """Task inputs and provider messages are strangers' words: control characters do not pass."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
