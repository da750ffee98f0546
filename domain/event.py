"""What every fact in the log carries, and the bounds that keep each one storable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

import msgspec

CREDITS_MAX = 2**53 - 1
"""Largest amount of credits in one event: exact in every JSON reader, far below 63 bits."""
COUNT_MAX = 2**31 - 1
BYTES_MAX = 2**53 - 1
"""Largest number of bytes that is told: exact in every JSON reader."""
NAME_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 2_000
DETAIL_LENGTH_MAX = 8_000

Credits = Annotated[int, msgspec.Meta(ge=0, le=CREDITS_MAX)]
NetCredits = Annotated[int, msgspec.Meta(ge=-CREDITS_MAX, le=CREDITS_MAX)]
"""Below zero by what is owed."""
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Version = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH_MAX)]
Detail = Annotated[str, msgspec.Meta(max_length=DETAIL_LENGTH_MAX)]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
"""Always with its offset from UTC, so that no reader takes it for local time."""
Upcast = Callable[[dict[str, msgspec.Raw]], Mapping[str, object]]
"""Fields of one version to those of the next; what it leaves alone stays as stored, to the byte."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Who caused an event, when (database clock, UTC), and within what.

    `causation_id` is the command's id; `correlation_id` joins everything one request led to.
    """

    at: Timestamp
    actor: Name
    correlation_id: UUID
    causation_id: UUID
    trace_id: Annotated[str, msgspec.Meta(max_length=32)] | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact at one version of one stream (`originator_id`, from version 1 without gaps).

    `TOPIC` and `VERSION` name its stored form for ever. A class whose version is above 1 lists in
    `UPCASTS` one function for each older version, which turns that version's JSON object into the
    next one's.
    """

    TOPIC: ClassVar[str]
    VERSION: ClassVar[int] = 1
    UPCASTS: ClassVar[Mapping[int, Upcast]] = {}

    originator_id: UUID
    originator_version: Version
    meta: Metadata
