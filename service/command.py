"""What goes with every command: who sends it, and what makes it happen once."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import msgspec

from adapters.decision import KeyRecord, States

Answer = Callable[[States], KeyRecord]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a command, and within what; stands in every event it leads to."""

    actor: str
    correlation_id: UUID | None = None
    trace_id: str | None = None


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """Makes a command happen once: `key` digests whose, where and which, `fingerprint` the body.

    `answer(states)` is the reply that is kept with the events and given again.
    """

    key: bytes
    fingerprint: bytes
    answer: Answer
