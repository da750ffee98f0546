"""Writes ledgers' snapshots off the commit's path; losing one loses time, never a fact."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection

from adapters.arrays import Bigints, Byteas, Texts, Uuids
from adapters.clock import DatabaseClock
from adapters.mapper import EventMapper
from adapters.sql import statement
from domain.aggregate import SNAPSHOT_EVENTS, Aggregate
from domain.event import Event, Metadata

CONNECT_SECONDS_MAX = 5
WRITE_SECONDS_MAX = 30.0
SNAPSHOTS_KEPT = 2
"""Of each stream: the newest one may prove unreadable."""
_log = structlog.get_logger(__name__)
_NOBODY = UUID(int=0)


def due(before: Any, state: Any) -> bool:  # noqa: ANN401 - each aggregate has its own state
    """Whether a state has come past a multiple of `SNAPSHOT_EVENTS` versions."""
    version = 0 if before is None else before.version
    return bool(version // SNAPSHOT_EVENTS != state.version // SNAPSHOT_EVENTS)


class SnapshotWriter:
    """Writes snapshots on its own connection, and lets go of those they follow."""

    def __init__(self, dsn: str, mapper: EventMapper, clock: DatabaseClock) -> None:
        self._dsn = dsn
        self._mapper = mapper
        self._clock = clock
        self._due: dict[UUID, tuple[Aggregate, Any]] = {}
        self._task: asyncio.Task[None] | None = None

    def take(self, aggregate: Aggregate, state: Any) -> None:  # noqa: ANN401
        """Write a durable state down, soon; quiet for kinds that need no snapshots."""
        if aggregate.snapshot is None:
            return
        self._due[state.id] = (aggregate, state)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_due(), name="snapshots")

    async def close(self) -> None:
        """Finish what is being written, within `WRITE_SECONDS_MAX`."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _write_due(self) -> None:
        try:
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                connection = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX
                )
                async with connection:
                    while self._due:
                        due, self._due = self._due, {}
                        await self._write(connection, [self._event(a, s) for a, s in due.values()])
        except (psycopg.Error, OSError) as error:
            _log.warning("snapshots.failed", error=str(error))
        except Exception:  # noqa: BLE001 - a snapshot is never worth a failure
            _log.exception("snapshots.failed")

    def _event(self, aggregate: Aggregate, state: Any) -> Event:  # noqa: ANN401
        assert aggregate.snapshot is not None
        meta = Metadata(
            at=self._clock.now(), actor="snapshots", correlation_id=_NOBODY, causation_id=_NOBODY
        )
        return aggregate.snapshot(state, meta)

    async def _write(self, connection: AsyncConnection[Any], events: list[Event]) -> None:
        stored = [self._mapper.encode(event) for event in events]
        await connection.execute(
            statement("insert_snapshots"),
            (
                Uuids([event.originator_id for event in events]),
                Bigints([event.originator_version for event in events]),
                Texts([topic for topic, _ in stored]),
                Byteas([data for _, data in stored]),
            ),
        )
        # A crash in between leaves one too many, until the next.
        ids = Uuids([event.originator_id for event in events])
        await connection.execute(statement("delete_snapshots"), (ids, SNAPSHOTS_KEPT))
