"""A period of an account's statement: its opening, what each kind of line changed, its closing."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from adapters.pool import Pool, fetch
from adapters.sql import statement
from projections.statement import STATEMENT, LineKind


class KindTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one kind, their amounts and their signed changes."""

    kind: LineKind
    lines: int
    amount: int
    available_change: int
    held_change: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an account had at one moment."""

    available: int
    held: int


class StatementSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Lines with `since` <= at < `until`; opening and all changes are the closing.

    The statement had come to `position` of the log.
    """

    since: datetime
    until: datetime
    position: int
    opening: Standing
    totals: list[KindTotal]
    closing: Standing


async def summarize(
    pool: Pool, account_id: UUID, since: datetime, until: datetime
) -> StatementSummary:
    """One query, as long as the period has lines. Raises `Unavailable`."""
    parameters = {
        "account_id": account_id,
        "since": since,
        "until": until,
        "consumer": STATEMENT.consumer,
    }
    rows = await fetch(pool, statement("select_statement_summary"), parameters, prepare=False)
    position, available, held, *_ = rows[0]
    opening = Standing(available=available or 0, held=held or 0)
    totals = [
        KindTotal(
            kind=kind,
            lines=lines,
            amount=int(amount),
            available_change=int(available_change),
            held_change=int(held_change),
        )
        for *_, kind, lines, amount, available_change, held_change in rows
        if kind is not None
    ]
    return StatementSummary(
        since=since,
        until=until,
        position=position,
        opening=opening,
        totals=totals,
        closing=Standing(
            available=opening.available + sum(total.available_change for total in totals),
            held=opening.held + sum(total.held_change for total in totals),
        ),
    )
