"""The facts of a schedule; their topics, versions and fields are kept for ever."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import Raw

from domain.event import Count, Event, Name, Text, Timestamp

CRON_LENGTH_MAX = 100
ZONE_LENGTH_MAX = 64
Cron = Annotated[str, msgspec.Meta(min_length=9, max_length=CRON_LENGTH_MAX)]
"""Five fields: minute, hour, day of the month, month, day of the week."""
Zone = Annotated[str, msgspec.Meta(min_length=1, max_length=ZONE_LENGTH_MAX)]
"""A name of the IANA time zone database."""
PauseCause = Literal["asked", "refused", "over"]


class ScheduleCreated(Event, frozen=True, kw_only=True):
    """From here on a task of `type` with `input` is submitted whenever `cron` says so in `zone`.

    After `skips_max` firings in a row that were refused it pauses by itself.
    """

    TOPIC: ClassVar[str] = "schedule.created"

    account_id: UUID
    cron: Cron
    zone: Zone
    type: Name
    input: Raw
    priority: Count
    skips_max: Count
    next_at: Timestamp
    name: Name | None = None
    project: Name | None = None


class ScheduleFired(Event, frozen=True, kw_only=True):
    """`task_id` was submitted by the same commit, for the time `due_at`.

    `missed` times before it found nobody to fire them; they are not made up for. Without `next_at`
    no time follows.
    """

    TOPIC: ClassVar[str] = "schedule.fired"

    task_id: UUID
    due_at: Timestamp
    next_at: Timestamp | None = None
    missed: Count = 0


class ScheduleSkipped(Event, frozen=True, kw_only=True):
    """The submission was refused (`reason` is the refusal's code), the `skips`th in a row."""

    TOPIC: ClassVar[str] = "schedule.skipped"

    reason: Name
    detail: Text
    due_at: Timestamp
    skips: Count
    next_at: Timestamp | None = None
    missed: Count = 0


class SchedulePaused(Event, frozen=True, kw_only=True):
    """It fires no more until it is resumed.

    `cause`: its user asked; too many firings in a row were refused; or its times are over.
    """

    TOPIC: ClassVar[str] = "schedule.paused"

    cause: PauseCause
    reason: Text = ""


class ScheduleResumed(Event, frozen=True, kw_only=True):
    """It fires again, first at `next_at`; times that passed meanwhile are not made up for."""

    TOPIC: ClassVar[str] = "schedule.resumed"

    next_at: Timestamp


class ScheduleDeleted(Event, frozen=True, kw_only=True):
    """It never fires again; tasks that it submitted go on."""

    TOPIC: ClassVar[str] = "schedule.deleted"


ScheduleEvent = (
    ScheduleCreated
    | ScheduleFired
    | ScheduleSkipped
    | SchedulePaused
    | ScheduleResumed
    | ScheduleDeleted
)
