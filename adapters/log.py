"""The log as its readers see it: from a position on, one stream, or as it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from itertools import takewhile
from uuid import UUID

import msgspec
import structlog
from eventsourcing.persistence import MapperDeserialisationError

from adapters.mapper import EventMapper
from adapters.pool import Pool, fetch
from adapters.sql import statement
from adapters.wakeup import Wakeup
from domain.errors import AdapterError, Unavailable
from domain.event import Event

POLL_SECONDS = 3.0
FOLLOW_EVENTS_MAX = 1_000
STREAM_EVENTS_MAX = 100_000
"""Longest piece of one stream that is read into memory at once."""
BIGINT_MAX = 2**63 - 1
_Row = tuple[int, str, bytes]
_log = structlog.get_logger(__name__)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event and its position in the log. Positions grow, with gaps where a commit failed."""

    position: int
    event: Event


class EventUnreadable(AdapterError):
    """The event at `position` cannot be loaded; reading may go on after it, past that stream."""

    code = "event_unreadable"

    def __init__(self, position: int, stream_id: UUID, reason: str) -> None:
        super().__init__(f"The event at position {position} of stream {stream_id}: {reason}")
        self.position = position
        self.stream_id = stream_id


class StreamTooLong(AdapterError):
    """More than STREAM_EVENTS_MAX events were asked for; read them in parts, by `after_version`."""

    code = "stream_too_long"


class EventLog:
    """Reads in commit order and misses nothing, since writers hold its lock until committed.

    Reading raises `Unavailable` when the database cannot be reached, and `EventUnreadable`.
    """

    def __init__(
        self,
        pool: Pool,
        mapper: EventMapper,
        wakeup: Wakeup,
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._pool = pool
        self._mapper = mapper
        self._wakeup = wakeup
        self.poll_seconds = poll_seconds

    @property
    def listening(self) -> bool:
        """Whether new events are heard of at once; if not, they are found every `poll_seconds`."""
        return self._wakeup.listening

    async def head(self) -> int:
        """Position of the last event, 0 when there is none."""
        query = "SELECT coalesce(max(notification_id), 0) FROM tallystick_events"
        [(position,)] = await fetch(self._pool, query, {})
        return int(position)

    async def read(self, after: int, limit: int, upto: int | None = None) -> list[Recorded]:
        """At most `limit` events past position `after`, up to and with position `upto`.

        Ends before an event that cannot be loaded; raises `EventUnreadable` when it is the first.
        """
        upto = BIGINT_MAX if upto is None else upto
        rows = await fetch(
            self._pool, statement("select_events"), {"after": after, "upto": upto, "limit": limit}
        )
        recorded = self._decode(rows)
        if rows and not recorded:
            raise await self._unreadable(rows[0])
        return recorded

    async def stream(
        self,
        stream_id: UUID,
        *,
        after_version: int = 0,
        upto_version: int | None = None,
        upto_time: datetime | None = None,
    ) -> list[Recorded]:
        """One aggregate's events in order, up to and with a version and a time; may be empty.

        A time stops before the first event after it, so what is given can be folded. Raises
        `StreamTooLong`.
        """
        upto_version = BIGINT_MAX if upto_version is None else upto_version
        rows = await fetch(
            self._pool,
            statement("select_stream"),
            {
                "stream_id": stream_id,
                "after_version": after_version,
                "upto_version": upto_version,
                "limit": STREAM_EVENTS_MAX + 1,
            },
        )
        if len(rows) > STREAM_EVENTS_MAX:
            raise StreamTooLong(f"Stream {stream_id} has more than {STREAM_EVENTS_MAX} events.")
        recorded = self._decode(rows)
        if len(recorded) < len(rows):
            raise await self._unreadable(rows[len(recorded)])
        if upto_time is None:
            return recorded
        return list(takewhile(lambda one: one.event.meta.at <= upto_time, recorded))

    async def follow(
        self, after: int, *, limit: int = FOLLOW_EVENTS_MAX
    ) -> AsyncIterator[list[Recorded]]:
        """Batches of at most `limit` events past `after`, for ever, each event once and in order.

        Waits for the database while it is away.
        """
        watch = self._wakeup.watch()
        while True:
            try:
                batch = await self.read(after, limit)
            except Unavailable as error:
                _log.warning("follow.unavailable", error=str(error), after=after)
                batch = []
            if batch:
                after = batch[-1].position
                yield batch
            else:
                await watch.wait(self.poll_seconds)

    def _decode(self, rows: Sequence[_Row]) -> list[Recorded]:
        """Events of the rows, up to the first that cannot be loaded."""
        decode = self._mapper.decode
        recorded: list[Recorded] = []
        try:
            for position, topic, state in rows:
                recorded.append(Recorded(position, decode(topic, state)))
        except MapperDeserialisationError:
            _log.exception("event.unreadable", position=rows[len(recorded)][0])
        return recorded

    async def _unreadable(self, row: _Row) -> EventUnreadable:
        query = "SELECT originator_id FROM tallystick_events WHERE notification_id = %(position)s"
        [(stream_id,)] = await fetch(self._pool, query, {"position": row[0]})
        return EventUnreadable(row[0], stream_id, f"topic {row[1]!r} cannot be loaded")
