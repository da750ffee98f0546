"""How the read models behind the log are doing; asked from any process."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec
from eventsourcing.persistence import MapperDeserialisationError

from adapters.mapper import EventMapper
from adapters.pool import LOST, Pool, fetch, lent
from adapters.projector import lead_lock
from adapters.read_model import ReadModel
from adapters.read_tables import BEHIND, ReadTable
from adapters.sql import statement
from domain.errors import NotFound, Unavailable
from projections.fold import Parked

PARKED_MAX = 200
"""Most parked streams that are listed at once."""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a projection is behind the log.

    `events` is the distance in positions, which commits that failed may have left gaps in.
    `seconds` is the age of the first event not taken, 0 when there is none, None when that event
    cannot be read. `led` says that some process leads it now; `parked_streams` are not counted as
    lag.
    """

    projection: str
    position: int
    events: int
    seconds: float | None
    led: bool
    parked_streams: int


class ParkedStream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream set aside by a projection, since when, and why."""

    projection: str
    parked: Parked
    parked_at: datetime


class ProjectionStatus:
    """`lag()` of each projection, `parked()` streams, `retry_parked()` once a cause is mended."""

    def __init__(
        self, pool: Pool, mapper: EventMapper, tables: Iterable[ReadTable] = BEHIND
    ) -> None:
        self._pool = pool
        self._mapper = mapper
        self._models = {t.projection.consumer: ReadModel(t, mapper) for t in tables}

    async def lag(self) -> list[Lag]:
        """Of every projection; raises `Unavailable`, as all of these do."""
        return [await self._lag(consumer) for consumer in self._models]

    async def parked(
        self, after: ParkedStream | None = None, limit: int = PARKED_MAX
    ) -> list[ParkedStream]:
        """Those past `after` in the order of streams' ids and projections, at most `limit`."""
        parameters = {
            "stream_id": after.parked.stream_id if after else UUID(int=0),
            "projection": after.projection if after else "",
            "limit": min(limit, PARKED_MAX),
        }
        rows = await fetch(self._pool, statement("select_parked_streams"), parameters)
        names = Parked.__struct_fields__
        return [
            ParkedStream(
                projection=projection,
                parked_at=parked_at,
                parked=Parked(**dict(zip(names, values, strict=True))),
            )
            for projection, parked_at, *values in rows
        ]

    async def retry_parked(self, projection: str, stream_id: UUID) -> Parked | None:
        """Take a parked stream's events from where it was parked; None when it is whole again.

        Otherwise how it is parked now. Raises `NotFound` for a projection or a parked stream that
        is not there.
        """
        model = self._models.get(projection)
        if model is None:
            raise NotFound(f"There is no projection {projection!r}.")
        try:
            async with lent(self._pool) as connection:
                return await model.retry_parked(connection, stream_id)
        except LOST as error:
            raise Unavailable(f"The database went away: {error}") from error

    async def _lag(self, consumer: str) -> Lag:
        parameters = {"consumer": consumer, "lock": lead_lock(consumer)}
        [row] = await fetch(self._pool, statement("select_lag"), parameters)
        position, head, topic, state, now, parked_streams, led = row
        return Lag(
            projection=consumer,
            position=position,
            events=max(0, head - position),
            seconds=0.0 if topic is None else self._age_seconds(topic, state, now),
            led=led,
            parked_streams=parked_streams,
        )

    def _age_seconds(self, topic: str, state: bytes, now: datetime) -> float | None:
        try:
            event = self._mapper.decode(topic, state)
        except MapperDeserialisationError:
            return None
        return max(0.0, (now - event.meta.at).total_seconds())
