"""Durable states of hot streams, kept in memory with their versions and caught up from the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import structlog
from eventsourcing.persistence import MapperDeserialisationError

from adapters.arrays import Bigints, Uuids
from adapters.decision import Cursor
from adapters.mapper import EventMapper
from adapters.sql import statement
from domain.aggregate import Aggregate, Stream

_log = structlog.get_logger(__name__)


class StreamCache:
    """States that are durable, and no others. `trim` brings them back to `streams_max`."""

    def __init__(self, mapper: EventMapper, streams_max: int) -> None:
        self._mapper = mapper
        self._streams_max = streams_max
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
        await cursor.execute(statement("select_snapshots"), (Uuids(ids),), prepare=True)
        for topic, data in await cursor.fetchall():
            try:
                event = self._mapper.decode(topic, data)
            except MapperDeserialisationError as error:
                # The log has all that it said.
                _log.warning("snapshot.unreadable", error=str(error))
                continue
            stream_id = event.originator_id
            self._states[stream_id] = wanted[stream_id].evolve(None, event)

    async def _load_tails(self, cursor: Cursor, wanted: dict[UUID, Aggregate]) -> None:
        states = {stream_id: self._states.get(stream_id) for stream_id in wanted}
        versions = [0 if state is None else state.version for state in states.values()]
        parameters = (Uuids(list(states)), Bigints(versions))
        await cursor.execute(statement("select_tails"), parameters, prepare=True)
        for stream_id, topic, data in await cursor.fetchall():
            event = self._mapper.decode(topic, data)
            states[stream_id] = wanted[stream_id].evolve(states[stream_id], event)
        for stream_id, state in states.items():
            if state is not None:
                self._states[stream_id] = state


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
