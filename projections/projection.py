"""The frame of every read model: its events, the row they fold into, and the sums beside it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from domain.event import Event

Row = TypeVar("Row", bound=msgspec.Struct)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over many streams, by `key`.

    Each event adds every one of `count(row before | None, event, row after)` to the sum of its key.
    `add` must give the same in any order and grouping, which is what lets a parked stream be caught
    up later: so the sums are integers.
    """

    row: type[msgspec.Struct]
    count: Callable[[Any, Event, Any], Iterable[Any]]
    key: Callable[[Any], Hashable]
    add: Callable[[Any, Any], Any]


class Projection(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """One read model: `evolve(row | None, event) -> row`, each row being of one stream.

    `every_version` keeps the row of each event instead of the last one, so that the table is a
    history. A change of meaning is a new `version`, with tables and a position of its own.
    """

    name: str
    version: int
    row: type[Row]
    events: frozenset[type[Event]]
    evolve: Callable[[Row | None, Event], Row]
    every_version: bool = False
    tally: Tally | None = None

    @property
    def consumer(self) -> str:
        """The name its position is tracked under."""
        return f"{self.name}.v{self.version}"

    def key(self, event: Event) -> UUID | None:
        """Key of the row that `event` changes; None when it is of no concern here."""
        return event.originator_id if type(event) in self.events else None
