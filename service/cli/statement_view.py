"""The statement commands' options, and how lines and summaries are shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Literal

import msgspec
import rich_click as click

from service.cli.arguments import read_period, read_time
from service.cli.output import cell, json_option, print_json, print_rows, print_table, say
from service.statement_period import bounds_of
from tallystick.models import Standing, StatementLine, StatementSummary

LINES = 20
LINES_MAX = 200
Form = Literal["lines", "csv", "summary"]


class StatementAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Lines with `since` <= at < `until`, in one of three forms; `limit` bounds lines alone."""

    since: datetime | None
    until: datetime | None
    limit: int
    form: Form
    as_json: bool

    @property
    def bounded(self) -> bool:
        return self.since is not None or self.until is not None


def statement_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options of a statement, handed on as `asked`. Raises `UsageError` for those that clash."""

    @wraps(function)
    def command(
        *,
        period: str | None,
        since: str | None,
        until: str | None,
        limit: int,
        as_csv: bool,
        summary: bool,
        as_json: bool,
        **given: object,
    ) -> None:
        if as_csv and (summary or as_json):
            raise click.UsageError("--csv is a form of its own: leave out --summary and --json.")
        begin, end = bounds_of(
            read_period("--period", period),
            read_time("--since", since),
            read_time("--until", until),
        )
        asked = StatementAsked(
            since=begin,
            until=end,
            limit=limit,
            form="csv" if as_csv else "summary" if summary else "lines",
            as_json=as_json,
        )
        function(asked=asked, **given)

    options = (
        click.option("--period", metavar="MONTH", help="Of this month (UTC), such as 2026-11."),
        click.option("--since", metavar="TIME", help="From this time (ISO 8601 with an offset)."),
        click.option("--until", metavar="TIME", help="Up to before this time."),
        click.option(
            "--limit",
            type=click.IntRange(1, LINES_MAX),
            default=LINES,
            show_default=True,
            help="At most this many lines, the newest; CSV has all.",
        ),
        click.option("--csv", "as_csv", is_flag=True, help="All lines as CSV, oldest first."),
        click.option("--summary", is_flag=True, help="Opening, totals by kind, and closing."),
        json_option,
    )
    decorated: Callable[..., None] = command
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def print_piece(piece: bytes) -> None:
    """As it is: a CSV has line ends of its own."""
    click.echo(piece, nl=False)


def print_lines(lines: list[StatementLine], *, as_json: bool) -> None:
    if as_json:
        for line in lines:
            print_json(line)
        return
    print_table(
        {
            "version": lambda line: line.version,
            "at": lambda line: line.at,
            "kind": lambda line: line.kind,
            "amount": lambda line: line.amount,
            "available": lambda line: line.available,
            "held": lambda line: line.held,
            "for": _what_for,
            "reason": lambda line: line.reason,
        },
        lines,
    )


def _what_for(line: StatementLine) -> str | None:
    return line.group_id or line.task_id or line.source_ref or line.hold_id


def print_summary(summary: StatementSummary, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    totals = [
        (t.kind, t.lines, t.amount, t.available_change, t.held_change) for t in summary.totals
    ]
    rows = [_standing("opening", summary.opening), *totals, _standing("closing", summary.closing)]
    print_rows(
        ["KIND", "LINES", "AMOUNT", "AVAILABLE", "HELD"], [list(map(cell, row)) for row in rows]
    )
    say(
        f"From {summary.since:%Y-%m-%d %H:%M:%S} to before {summary.until:%Y-%m-%d %H:%M:%S} UTC,"
        f" up to position {summary.position} of the log."
    )


def _standing(name: str, standing: Standing) -> tuple[object, ...]:
    return name, None, None, standing.available, standing.held


def say_balances(summary: StatementSummary) -> None:
    """In a sentence, beside the lines."""
    opening, closing = summary.opening, summary.closing
    say(
        f"Opening: {opening.available} available, {opening.held} held."
        f" Closing: {closing.available} available, {closing.held} held."
    )
