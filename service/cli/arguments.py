"""What is typed as an argument and means more than its text. All raise `UsageError`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import rich_click as click

from service.times import guard_time

F = TypeVar("F", bound=Callable[..., object])
_PERIOD = re.compile(r"[1-9]\d{3}-(0[1-9]|1[0-2])", re.ASCII)


def limit_option(rows: int) -> Callable[[F], F]:
    """How many of a list are shown: `rows` unless it is told."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=rows,
        show_default=True,
        help="At most this many.",
    )


def read_document(text: str) -> bytes:
    """What INPUT is or names, in UTF-8: a file by `@`, the standard input by `-`."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return text.encode()
    except (OSError, UnicodeError) as error:
        raise click.UsageError(f"INPUT cannot be read: {error}.") from error


def read_input(text: str) -> dict[str, Any]:
    """The JSON object that the argument is or names."""
    try:
        return msgspec.json.decode(read_document(text), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"INPUT is no JSON object: {error}.") from error


def read_time(option: str, text: str | None) -> datetime | None:
    """Raises `UsageError` for what is no time with an offset."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        sentence = f"{option}: {text!r} is no time such as 2026-01-31T12:00Z."
        raise click.UsageError(sentence) from error
    if time.tzinfo is None:
        raise click.UsageError(
            f"{option}: add the offset from UTC, such as {time.isoformat(timespec='minutes')}Z."
        )
    try:
        guard_time(time)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}.") from error
    return time


def read_period(name: str, text: str | None) -> str | None:
    """A month, such as 2026-11."""
    if text is None or _PERIOD.fullmatch(text):
        return text
    raise click.UsageError(f"{name} is a month such as 2026-01.")


def read_at(text: str | None) -> int | datetime | None:
    """A version, or a time."""
    if text is not None and text.isdecimal() and text.isascii():
        return int(text)
    return read_time("--at", text)


def text_of(length_max: int) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A check of an option's text, if there is one: not empty, and not longer than that."""

    def check(_: click.Context, option: click.Parameter, text: str | None) -> str | None:
        if text is not None and not text.strip():
            raise click.UsageError(f"{option.opts[0]} is empty.")
        if text is not None and len(text) > length_max:
            raise click.UsageError(f"{option.opts[0]} is longer than {length_max} characters.")
        return text

    return check
