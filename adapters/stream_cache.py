"""Durable states of hot streams, kept in memory with their versions and caught up from the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import structlog
from eventsourcing.persistence import MapperDeserialisationError

from adapters.arrays import Bigints, Uuids
from adapters.decision import Cursor
from adapters.mapper import EventMapper
from adapters.snapshots import SNAPSHOTS_KEPT
from adapters.sql import statement
from domain.aggregate import SNAPSHOT_EVENTS, Aggregate, Stream
from domain.event import Event

SECTION_EVENTS_MAX = 10_000
"""Events of all streams that are read at once while loading, or a snapshot's worth of each."""
_log = structlog.get_logger(__name__)


class StreamCache:
    """States that are durable, and no others. `trim` brings them back to `streams_max`.

    `found_long(aggregate, state)` is told of a state that took more than `SNAPSHOT_EVENTS` events
    to load, or to come so far: its next loading should not.
    """

    def __init__(
        self,
        mapper: EventMapper,
        streams_max: int,
        found_long: Callable[[Aggregate, Any], None],
    ) -> None:
        self._mapper = mapper
        self._streams_max = streams_max
        self._found_long = found_long
        self._states: OrderedDict[UUID, Any] = OrderedDict()

    def get(self, stream_id: UUID) -> Any:  # noqa: ANN401 - each aggregate has its own state
        return self._states.get(stream_id)

    def clear(self) -> None:
        self._states.clear()

    def trim(self) -> None:
        """Let go of the least recently loaded or written; not while a batch is decided on them."""
        while len(self._states) > self._streams_max:
            self._states.popitem(last=False)

    def keep(self, aggregate: Aggregate, stream_id: UUID, state: Any) -> None:  # noqa: ANN401
        """Take over a state that has become durable; one that has ended is let go."""
        if aggregate.ended(state):
            self._states.pop(stream_id, None)
            return
        self._states[stream_id] = state
        self._states.move_to_end(stream_id)

    async def load(
        self, cursor: Cursor, streams: Iterable[Stream], *, refresh: bool
    ) -> frozenset[UUID]:
        """Bring in the missing streams, or with `refresh` what is new on all. Returns their ids.

        These then stand as of one moment, together; those that were in memory may be older.
        """
        wanted = {
            stream.id: stream.aggregate
            for stream in streams
            if refresh or stream.id not in self._states
        }
        if not wanted:
            return frozenset()
        if without := [i for i, a in wanted.items() if a.snapshot and i not in self._states]:
            await self._load_snapshots(cursor, without, wanted)
        await self._load_tails(cursor, wanted)
        return frozenset(wanted)

    async def _load_snapshots(
        self, cursor: Cursor, ids: list[UUID], wanted: dict[UUID, Aggregate]
    ) -> None:
        """Begin each stream with the newest of its snapshots and its closed books."""
        parameters = (Uuids(ids), SNAPSHOTS_KEPT)
        await cursor.execute(statement("select_snapshots"), parameters, prepare=True)
        begun: set[UUID] = set()
        for stream_id, topic, data in await cursor.fetchall():
            if stream_id not in begun and (event := self._readable(topic, data)) is not None:
                self._states[stream_id] = wanted[stream_id].evolve(None, event)
                begun.add(stream_id)

    def _readable(self, topic: str, data: bytes) -> Event | None:
        try:
            return self._mapper.decode(topic, data)
        except MapperDeserialisationError as error:
            # An older one will do, and the log has all that it said.
            _log.warning("snapshot.unreadable", error=str(error))
            return None

    async def _load_tails(self, cursor: Cursor, wanted: dict[UUID, Aggregate]) -> None:
        """Fold what came since, section by section.

        The last section is read of all streams at once, so that they stand as of one moment.
        """
        states = {stream_id: self._states.get(stream_id) for stream_id in wanted}
        while await self._fold_section(cursor, wanted, states):
            pass
        for stream_id, state in states.items():
            if state is not None:
                self._states[stream_id] = state

    async def _fold_section(
        self, cursor: Cursor, wanted: dict[UUID, Aggregate], states: dict[UUID, Any]
    ) -> bool:
        """Whether some stream may go on.

        A long way is written down as it goes: should time run out, the next try begins from there.
        """
        each = max(SECTION_EVENTS_MAX // len(states), SNAPSHOT_EVENTS + 1)
        before = _versions(states)
        await cursor.execute(
            statement("select_tails"), (Uuids(list(states)), Bigints(before), each), prepare=True
        )
        for stream_id, topic, data in await cursor.fetchall():
            event = self._mapper.decode(topic, data)
            states[stream_id] = wanted[stream_id].evolve(states[stream_id], event)
        read = [now - then for then, now in zip(before, _versions(states), strict=True)]
        for (stream_id, state), events in zip(states.items(), read, strict=True):
            if events > SNAPSHOT_EVENTS:
                self._found_long(wanted[stream_id], state)
        return max(read) >= each


def _versions(states: Mapping[UUID, Any]) -> list[int]:
    return [0 if state is None else state.version for state in states.values()]


class Overlay(Mapping[UUID, Any]):
    """States as a batch sees them: what its earlier commands decided, over what is durable."""

    __slots__ = ("cache", "decided")

    def __init__(self, cache: StreamCache, decided: Mapping[UUID, Any]) -> None:
        self.cache = cache
        self.decided = decided

    def __getitem__(self, stream_id: UUID) -> Any:  # noqa: ANN401
        """State of a stream, None when it has no events."""
        state = self.decided.get(stream_id)
        return self.cache.get(stream_id) if state is None else state

    def __iter__(self) -> Iterator[UUID]:
        return iter(self.decided)

    def __len__(self) -> int:
        return len(self.decided)
