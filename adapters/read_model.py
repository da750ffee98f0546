"""One read model in PostgreSQL: takes the log batch by batch, rows and position in one transaction.

Whoever advances or mends it first locks its row in `tracking` and starts from the position there,
so each event is taken exactly once, whatever was killed and however many try.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection

from adapters.arrays import Bigints, Texts, Uuids
from adapters.decision import Cursor
from adapters.mapper import EventMapper
from adapters.read_tables import ReadTable
from adapters.sql import statement
from domain.catalogue import BY_STORED_TOPIC
from domain.errors import NotFound
from projections.fold import Entry, Fold, Parked

BATCH_EVENTS_MAX = 2_000
BATCH_BYTES_MAX = 32 * 2**20
"""Stored bytes of one batch, beyond its first event."""
Connection = AsyncConnection[tuple[Any, ...]]
T = TypeVar("T")
_PARKED = Parked.__struct_fields__


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """The position reached, and how many events of the log were passed on the way."""

    position: int
    passed: int


class _Refused(Exception):
    """Rows could not be written because of what is in them, says `__cause__`."""


class ReadModel:
    """`connection` is one that nobody else uses meanwhile, with no transaction begun."""

    def __init__(self, table: ReadTable, mapper: EventMapper) -> None:
        self.consumer = table.projection.consumer
        self._table = table
        self._mapper = mapper
        taken = table.projection.events
        self._ignored = Texts([t for t, (e, _) in BY_STORED_TOPIC.items() if e not in taken])

    async def begin(self, connection: Connection) -> int:
        """How far it has come; it is tracked from here on, from 0 if it never was."""
        async with connection.transaction(), connection.cursor(binary=True) as cursor:
            await cursor.execute(
                "INSERT INTO tracking (consumer, position) VALUES (%s, 0) ON CONFLICT DO NOTHING",
                (self.consumer,),
            )
            await cursor.execute(
                "SELECT position FROM tracking WHERE consumer = %s", (self.consumer,)
            )
            [(position,)] = await cursor.fetchall()
            return int(position)

    async def advance(self, connection: Connection, events_max: int = BATCH_EVENTS_MAX) -> Advance:
        """Take the next batch; an event whose row the database refuses parks its stream.

        Raises `NotFound` before `begin`, and psycopg's errors of lost connections.
        """

        async def step(limit: int, refusal: BaseException | None) -> Advance:
            return await self._advance(connection, limit, refusal)

        return await _by_halves(events_max, step)

    async def retry_parked(
        self, connection: Connection, stream_id: UUID, events_max: int = BATCH_EVENTS_MAX
    ) -> Parked | None:
        """Take a parked stream's events from where it was parked, up to the present position.

        None when all of them were taken: the stream is no longer parked. Otherwise how it is parked
        now; what came before that is kept. The projector waits meanwhile. Raises `NotFound` for a
        stream that is not parked.
        """

        async def step(limit: int, refusal: BaseException | None) -> tuple[Parked | None, bool]:
            return await self._retry(connection, stream_id, limit, refusal)

        while True:
            parked, more = await _by_halves(events_max, step)
            if not more:
                return parked

    async def _advance(
        self, connection: Connection, limit: int, refusal: BaseException | None
    ) -> Advance:
        async with connection.transaction(), connection.cursor(binary=True) as cursor:
            after = await self._lock(cursor)
            await cursor.execute(
                statement("select_entries"),
                {
                    "ignored": self._ignored,
                    "after": after,
                    "limit": limit,
                    "bytes_max": BATCH_BYTES_MAX,
                },
                prepare=True,
            )
            entries = list(map(Entry._make, await cursor.fetchall()))
            if not entries:
                return Advance(position=after, passed=0)
            await self._take(cursor, entries, refusal)
            position = entries[-1].position
            await cursor.execute(
                "UPDATE tracking SET position = %s, updated_at = clock_timestamp()"
                " WHERE consumer = %s",
                (position, self.consumer),
                prepare=True,
            )
            return Advance(position=position, passed=len(entries))

    async def _take(
        self, cursor: Cursor, entries: Sequence[Entry], refusal: BaseException | None
    ) -> None:
        streams = Uuids({entry.stream_id for entry in entries if entry.state is not None})
        if not streams.items:
            return
        parked = await self._parked(cursor, streams)
        fold = Fold(self._table.projection, await self._rows(cursor, streams), parked)
        self._feed(fold, entries, refusal)
        await self._save(cursor, fold)
        if changed := [p for i, p in fold.parked.items() if p != parked.get(i)]:
            await self._save_parked(cursor, changed)

    async def _retry(
        self, connection: Connection, stream_id: UUID, limit: int, refusal: BaseException | None
    ) -> tuple[Parked | None, bool]:
        """One batch of a parked stream: how it is parked now, and whether there is more to take."""
        async with connection.transaction(), connection.cursor(binary=True) as cursor:
            last = await self._lock(cursor)
            parked = (await self._parked(cursor, Uuids([stream_id]))).get(stream_id)
            if parked is None:
                raise NotFound(f"{self.consumer} has not parked that stream.")
            await cursor.execute(
                statement("select_stream_entries"),
                {
                    "ignored": self._ignored,
                    "stream_id": stream_id,
                    "first": parked.position,
                    "last": last,
                    "limit": limit,
                },
            )
            entries = list(map(Entry._make, await cursor.fetchall()))
            fold = Fold(self._table.projection, await self._rows(cursor, Uuids([stream_id])))
            self._feed(fold, entries, refusal)
            await self._save(cursor, fold)
            return await self._repark(cursor, parked, fold.parked.get(stream_id), entries, limit)

    async def _repark(
        self,
        cursor: Cursor,
        before: Parked,
        again: Parked | None,
        entries: Sequence[Entry],
        limit: int,
    ) -> tuple[Parked | None, bool]:
        """Note what is left of a parked stream after `entries`."""
        if again is None and len(entries) < limit:
            await cursor.execute(
                "DELETE FROM parked_streams WHERE projection = %s AND stream_id = %s",
                (self.consumer, before.stream_id),
            )
            return None, False
        position = entries[-1].position + 1 if again is None else again.position
        taken = sum(e.state is not None and e.position < position for e in entries)
        left = msgspec.structs.replace(
            before,
            position=position,
            topic=before.topic if again is None else again.topic,
            error=before.error if again is None else again.error,
            skipped=max(0, before.skipped - taken),
        )
        await self._save_parked(cursor, [left])
        return left, again is None

    def _feed(
        self, fold: Fold[Any], entries: Sequence[Entry], refusal: BaseException | None
    ) -> None:
        if refusal is not None:
            assert len(entries) <= 1, "a refusal is pinned to one event"
            for entry in entries:
                fold.park(entry, refusal)
            return
        for entry in entries:
            fold.feed(entry, self._mapper.decode)

    async def _lock(self, cursor: Cursor) -> int:
        await cursor.execute(
            "SELECT position FROM tracking WHERE consumer = %s FOR UPDATE",
            (self.consumer,),
            prepare=True,
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"{self.consumer} has not begun yet.")
        return int(row[0])

    async def _rows(self, cursor: Cursor, streams: Uuids) -> dict[UUID, Any]:
        await cursor.execute(statement(self._table.select), (streams,), prepare=True)
        return dict(map(self._table.row_of, await cursor.fetchall()))

    async def _parked(self, cursor: Cursor, streams: Uuids) -> dict[UUID, Parked]:
        await cursor.execute(statement("select_parked"), (self.consumer, streams), prepare=True)
        rows = await cursor.fetchall()
        return {row[0]: Parked(**dict(zip(_PARKED, row, strict=True))) for row in rows}

    async def _save(self, cursor: Cursor, fold: Fold[Any]) -> None:
        table = self._table
        try:
            if written := fold.written:
                values = table.insert_values(written)
                await cursor.execute(statement(table.insert), values, prepare=True)
            if fold.tallied and table.add is not None:
                values = table.add_values(fold.tallied.values())
                await cursor.execute(statement(table.add), values, prepare=True)
        except (psycopg.DataError, psycopg.IntegrityError, ValueError) as error:
            raise _Refused from error

    async def _save_parked(self, cursor: Cursor, parked: Sequence[Parked]) -> None:
        arrays = (Uuids, Bigints, Texts, Texts, Bigints, Bigints)
        values = [
            array([getattr(item, name) for item in parked])
            for array, name in zip(arrays, _PARKED, strict=True)
        ]
        await cursor.execute(statement("upsert_parked"), (self.consumer, *values))


async def _by_halves(limit: int, step: Callable[[int, BaseException | None], Awaitable[T]]) -> T:
    """Run `step` on ever smaller batches until the database takes one, or one event is at fault."""
    while True:
        try:
            return await step(limit, None)
        except _Refused as refused:
            if limit == 1:
                return await step(1, refused.__cause__ or refused)
            limit = (limit + 1) // 2
