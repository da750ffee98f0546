"""A run of the log through one projection, the same in memory, behind the log and in a rebuild."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any, Generic, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.event import Event
from projections.projection import Projection, Row, Tally

ERROR_LENGTH_MAX = 2_000
_NOTHING: Mapping[UUID, Any] = MappingProxyType({})


class Entry(NamedTuple):
    """One event as the log stores it; `state` is None when the projection has no use for it."""

    position: int
    stream_id: UUID
    topic: str
    state: bytes | None


class Written(NamedTuple, Generic[Row]):
    """A row, and the position of the event that made it so."""

    position: int
    row: Row


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """A stream set aside: from `position` on, none of its events are in the read model.

    `topic` and `error` are those of the event at `position`. `skipped` counts the later events held
    back, up to `last_position`.
    """

    stream_id: UUID
    position: int
    topic: str
    error: str
    skipped: int = 0
    last_position: int


class Fold(Generic[Row]):
    """Takes entries in the log's order, over `rows` and `parked` streams from before.

    The results are for the caller to store: `written` rows, `tallied` sums to be added to those
    that exist, and `parked` streams. An event that cannot be decoded or folded parks its stream; no
    other stream is affected.
    """

    def __init__(
        self,
        projection: Projection[Row],
        rows: Mapping[UUID, Row] = _NOTHING,
        parked: Mapping[UUID, Parked] = _NOTHING,
    ) -> None:
        self.rows = dict(rows)
        self.parked = dict(parked)
        self.tallied: dict[Hashable, Any] = {}
        self._projection = projection
        self._written: dict[Hashable, Written[Row]] = {}

    @property
    def written(self) -> list[Written[Row]]:
        """The rows that changed: the last of each key; with `every_version` all, in order."""
        return list(self._written.values())

    def feed(self, entry: Entry, decode: Callable[[str, bytes], Event]) -> None:
        """Take an entry, park its stream or hold it back. Raises nothing."""
        if entry.state is None:
            return
        if entry.stream_id in self.parked:
            self._hold_back(entry)
            return
        try:
            self.take(entry.position, decode(entry.topic, entry.state))
        except Exception as error:  # noqa: BLE001 - whatever one event does, the others go on
            self.park(entry, error)

    def take(self, position: int, event: Event) -> None:
        """Fold one event, wholly or, when something in it raises, not at all."""
        projection = self._projection
        key = projection.key(event)
        if key is None:
            return
        before = self.rows.get(key)
        after = projection.evolve(before, event)
        if projection.tally is not None:
            for count in projection.tally.count(before, event, after):
                self._tally(projection.tally, count)
        slot = (key, event.originator_version) if projection.every_version else key
        self._written[slot] = Written(position, after)
        self.rows[key] = after

    def park(self, entry: Entry, error: BaseException) -> None:
        """Set the entry's stream aside from this entry on."""
        self.parked[entry.stream_id] = Parked(
            stream_id=entry.stream_id,
            position=entry.position,
            topic=entry.topic,
            error=f"{type(error).__name__}: {error}".replace("\0", "")[:ERROR_LENGTH_MAX],
            last_position=entry.position,
        )

    def _hold_back(self, entry: Entry) -> None:
        parked = self.parked[entry.stream_id]
        self.parked[entry.stream_id] = replace(
            parked, skipped=parked.skipped + 1, last_position=entry.position
        )

    def _tally(self, tally: Tally, count: Any) -> None:  # noqa: ANN401 - each has its own rows
        key = tally.key(count)
        known = self.tallied.get(key)
        self.tallied[key] = count if known is None else tally.add(known, count)
