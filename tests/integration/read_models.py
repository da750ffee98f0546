"""Fills the read models, and tells what those behind the log must hold and do hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count, groupby
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from adapters.decision import Decision
from adapters.mapper import EventMapper
from adapters.pool import open_pool
from adapters.projection_status import ProjectionStatus
from adapters.projector import Projector, ProjectorLimits
from adapters.read_tables import BEHIND, JOURNAL_TABLE, STATEMENT_TABLE, STATISTICS_TABLE, ReadTable
from adapters.wakeup import Wakeup
from domain.aggregate import LEDGERS, TASKS, Stream
from domain.event import Event
from projections.fold import Fold
from projections.projection import Projection
from tests.integration.decisions import running_committer

Rows = list[tuple[Any, ...]]
_TABLES = (
    *("statement_lines", "statistics_v2_counts", "statistics_v2_tasks"),
    *("journal_totals", "journal_customers"),
)


def content(dsn: str) -> dict[str, Rows]:
    """Every row of every table, in order of its key."""
    with psycopg.connect(dsn) as connection:
        return {
            table: sorted(
                connection.execute(sql.SQL("TABLE {}").format(sql.Identifier(table))).fetchall(),
                key=_key,
            )
            for table in _TABLES
        }


def _key(row: tuple[Any, ...]) -> tuple[str, ...]:
    """Some order that two equal sets of rows share; the keys come first, and are never None."""
    return tuple(str(v.astimezone(UTC) if isinstance(v, datetime) else v) for v in row)


def positions(dsn: str) -> list[int]:
    """Of all events; a crash of the server, or a failed commit, leaves gaps."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT notification_id FROM tallystick_events ORDER BY 1")
        return [position for (position,) in rows]


def expected(events: Iterable[Event], at: Iterable[int] | None = None) -> dict[str, Rows]:
    """The same by folding the events in memory, at these positions or from 1 on."""
    numbered = list(zip(count(1) if at is None else at, events, strict=False))
    lines = _fold(STATEMENT_TABLE.projection, numbered)
    tasks = _fold(STATISTICS_TABLE.projection, numbered)
    books = _fold(JOURNAL_TABLE.projection, numbered)
    return {
        "statement_lines": sorted(
            (
                (row.account_id, row.version, position, *msgspec.structs.astuple(row)[2:])
                for position, row in lines.written
            ),
            key=_key,
        ),
        "statistics_v2_counts": sorted(
            map(msgspec.structs.astuple, tasks.tallied.values()), key=_key
        ),
        "statistics_v2_tasks": sorted(
            (
                (row.id, position, row.type, row.due_at, row.started_at)
                for position, row in tasks.written
            ),
            key=_key,
        ),
        "journal_totals": sorted(map(msgspec.structs.astuple, books.tallied.values()), key=_key),
        "journal_customers": sorted(
            (
                (row.id, position, *msgspec.structs.astuple(row)[1:])
                for position, row in books.written
            ),
            key=_key,
        ),
    }


def _fold(projection: Projection[Any], numbered: Iterable[tuple[int, Event]]) -> Fold[Any]:
    fold = Fold(projection)
    for position, event in numbered:
        fold.take(position, event)
    return fold


async def commit(dsn: str, events: Iterable[Event]) -> None:
    """Put events into the log by the committer, command by command, with their inline rows."""
    commands = [list(group) for _, group in groupby(events, lambda e: e.meta.causation_id)]
    async with running_committer(dsn) as committer:
        await asyncio.gather(*[committer.execute(_decided(command)) for command in commands])


def _decided(events: list[Event]) -> Decision:
    return Decision(
        decide=lambda _states, _meta: events,
        command_id=events[0].meta.causation_id,
        actor="tester",
        correlation_id=events[0].meta.correlation_id,
        streams=tuple(
            Stream(TASKS if e.TOPIC.startswith("task.") else LEDGERS, e.originator_id)
            for e in events
        ),
    )


def projector(
    dsn: str, table: ReadTable, *, wakeup: Wakeup | None = None, **limits: float
) -> Projector:
    """One whose wake-up never comes unless it is given."""
    found = msgspec.convert(limits, ProjectorLimits)
    return Projector(dsn, table, EventMapper(), wakeup or Wakeup(dsn), found)


async def drain(
    dsn: str, tables: Iterable[ReadTable] = BEHIND, batch_events_max: int = 2_000
) -> None:
    """Take everything that is in the log, as soon as a killed leader's session has ended."""
    for table in tables:
        async with projector(dsn, table, batch_events_max=batch_events_max) as one:
            while await one.run_once() or not one.leading:
                pass


@asynccontextmanager
async def status_of(dsn: str) -> AsyncIterator[ProjectionStatus]:
    async with open_pool(dsn, 2) as pool:
        yield ProjectionStatus(pool, EventMapper())
