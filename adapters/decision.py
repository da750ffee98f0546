"""A command on its way to the log: what it reads, how it decides, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncCursor

from domain.aggregate import Stream
from domain.errors import AdapterError
from domain.event import Event, Metadata

States = Mapping[UUID, Any]
"""State of each stream by its id; None where the stream has no events."""
Cursor = AsyncCursor[tuple[Any, ...]]
Find = Callable[[Cursor, Sequence[Stream]], Awaitable[Sequence[Stream]]]
"""Names streams by a query; the second argument are those the batch's earlier ones have named."""


class StreamNeeded(AdapterError):
    """Only the decision could know that it needs this stream too: name it, and decide again."""

    code = "stream_needed"

    def __init__(self, stream: Stream) -> None:
        super().__init__(f"The {stream.aggregate.name} {stream.id} was not named.")
        self.stream = stream


class AlreadyTracked(AdapterError):
    """The consumer has been at this position before: what it wants to write is written."""

    code = "already_tracked"


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The first answer to a request with an idempotency key.

    `key` is a digest of principal, method, route and key; `fingerprint` one of the request's body.
    """

    key: bytes
    fingerprint: bytes
    status: int
    body: bytes
    location: str | None = None


class Tracking(msgspec.Struct, frozen=True, kw_only=True):
    """`consumer` has worked off the log up to `position`; refused when it was there already."""

    consumer: str
    position: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One command, decided as often as it takes: `decide(states, meta)` must be pure.

    `streams` are loaded before it; none of them may move until its events are committed, whether it
    writes to them or only reads. `new` are ids that should not exist yet and are not loaded (one
    that does is noticed); a stream that only the decision itself can name may be opened by its
    first event. `find` names streams by a query under the log's lock instead. `key` makes the
    command happen once: `record(states)` is its answer, kept with the events, or alone if there are
    none; a refused command leaves its key unused. `tracking` moves a consumer's position in the
    same transaction, also for a command without events.
    """

    decide: Callable[[States, Metadata], Sequence[Event]]
    command_id: UUID
    actor: str
    correlation_id: UUID
    streams: tuple[Stream, ...] = ()
    new: tuple[Stream, ...] = ()
    find: Find | None = None
    key: bytes | None = None
    record: Callable[[States], KeyRecord] | None = None
    tracking: Tracking | None = None
    trace_id: str | None = None


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What a command came to: `states` after it, its `events`, and the last one's `position`.

    The position is the place in the log, 0 without events.
    `replayed` is the first answer when its key was used before; nothing was written then.
    """

    states: States
    events: tuple[Event, ...] = ()
    position: int = 0
    replayed: KeyRecord | None = None
