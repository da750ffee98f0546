"""`tallystick accounts statement`: an account's movements, straight from the database."""

from __future__ import annotations

from uuid import UUID

import msgspec

from adapters.queries import StatementFilter
from service.bootstrap import Service
from service.cli.account_change import account_of
from service.cli.administration import with_service
from service.cli.statement_view import (
    StatementAsked,
    print_lines,
    print_piece,
    print_summary,
    say_balances,
)
from service.http.statements import statement_entry
from service.statement_csv import csv_of
from service.statement_summaries import summary_of
from tallystick.models import StatementLine, StatementSummary


def show_statement(account_id: UUID, asked: StatementAsked) -> None:
    """Raises `NotFound`."""
    match asked.form:
        case "csv":
            with_service(lambda service: _write_csv(service, account_id, asked))
        case "summary":
            found = with_service(lambda service: _summary(service, account_id, asked))
            print_summary(found, as_json=asked.as_json)
        case "lines":
            _show_lines(account_id, asked)


def _show_lines(account_id: UUID, asked: StatementAsked) -> None:
    with_balances = asked.bounded and not asked.as_json

    async def work(service: Service) -> tuple[list[StatementLine], StatementSummary | None]:
        await account_of(service, account_id)
        found = await service.queries.statement(_filter(account_id, asked), limit=asked.limit)
        entries = list(map(statement_entry, found))
        lines = msgspec.convert(entries, list[StatementLine], from_attributes=True)
        return lines, await _summary(service, account_id, asked) if with_balances else None

    lines, summary = with_service(work)
    print_lines(lines, as_json=asked.as_json)
    if summary is not None:
        say_balances(summary)


async def _write_csv(service: Service, account_id: UUID, asked: StatementAsked) -> None:
    await account_of(service, account_id)
    wanted = msgspec.structs.replace(_filter(account_id, asked), oldest_first=True)
    async for piece in csv_of(service.queries, wanted):
        print_piece(piece)


async def _summary(service: Service, account_id: UUID, asked: StatementAsked) -> StatementSummary:
    account = await account_of(service, account_id)
    found = await summary_of(service, account, asked.since, asked.until)
    return msgspec.convert(found, StatementSummary, from_attributes=True)


def _filter(account_id: UUID, asked: StatementAsked) -> StatementFilter:
    return StatementFilter(account_id=account_id, since=asked.since, until=asked.until)
