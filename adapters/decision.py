"""A command on its way to the log: what it reads, how it decides, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncCursor

from domain.aggregate import Stream
from domain.event import Event, Metadata

States = Mapping[UUID, Any]
"""State of each stream by its id; None where the stream has no events."""
Cursor = AsyncCursor[tuple[Any, ...]]
Find = Callable[[Cursor], Awaitable[Sequence[Stream]]]


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

    `streams` are loaded before it; `new` are ids that cannot exist yet and need no load. `find` names streams by a
    query under the log's lock instead. `key` makes the command happen once: `record(states)` is its answer,
    kept with the events. `tracking` moves a consumer's position in the same transaction.
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
    """What a command came to: `states` after it, its `events` and their last `position` in the log (0 if none).

    `replayed` is the first answer when its key was used before; nothing was written then.
    """

    states: States
    events: tuple[Event, ...] = ()
    position: int = 0
    replayed: KeyRecord | None = None
