"""A schedule: a task that is to be submitted again and again, at the times of a cron expression.

Which times those are is told to it: the domain knows no calendar and no time zone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, assert_never
from uuid import UUID

import msgspec
from msgspec import Raw

from domain.cleaning import clean_text
from domain.errors import AlreadyExists, DomainError, InvalidInput, NotFound
from domain.event import TEXT_LENGTH_MAX, Event, Metadata
from domain.schedule_events import (
    PauseCause,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleEvent,
    ScheduleFired,
    SchedulePaused,
    ScheduleResumed,
    ScheduleSkipped,
)
from domain.schedule_state import SCHEDULE, Refusal, Schedule, ScheduleStatus, evolve
from domain.task_commands import PRIORITIES

__all__ = [
    "SCHEDULE",
    "SKIPS_MAX",
    "CreateSchedule",
    "DeleteSchedule",
    "Firing",
    "PauseSchedule",
    "Refusal",
    "ResumeSchedule",
    "Schedule",
    "ScheduleCommand",
    "ScheduleStatus",
    "Times",
    "decide",
    "evolve",
    "fire",
    "give_up",
]

SKIPS_MAX = 10
"""Firings in a row that are refused before a schedule pauses, unless it is told otherwise."""


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """The latest time that has come, how many before it were missed, and the one that follows."""

    due_at: datetime
    next_at: datetime | None
    missed: int = 0


class Times(Protocol):
    """The times of a cron expression in its zone."""

    def after(self, at: datetime) -> datetime | None:
        """The first one later than `at`; None when none follows."""

    def firing(self, due_at: datetime, now: datetime) -> Firing:
        """What is to be fired at `now`, when `due_at` is the first that was not."""


class CreateSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """`priority` is of `PRIORITIES`; `input` is a JSON object that fits the type."""

    schedule_id: UUID
    account_id: UUID
    cron: str
    zone: str
    type: str
    input: Raw
    priority: int = PRIORITIES["normal"]
    skips_max: int = SKIPS_MAX
    name: str | None = None
    project: str | None = None


class PauseSchedule(msgspec.Struct, frozen=True, kw_only=True):
    reason: str = ""


class ResumeSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """It fires again from the next time on."""


class DeleteSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """For good."""


ScheduleCommand = CreateSchedule | PauseSchedule | ResumeSchedule | DeleteSchedule


def decide(
    schedule: Schedule | None, command: ScheduleCommand, times: Times | None, meta: Metadata
) -> tuple[ScheduleEvent, ...]:
    """Events that `command` leads to; none when it was carried out before.

    `times` are those of the schedule's expression, needed to create and to resume. Refusals:
    `InvalidInput` (priority, then an expression without any time to come) and `AlreadyExists` of a
    creation; else `NotFound`, then quiet where done before, `IllegalTransition`, and `InvalidInput`
    of a resumption without any time to come.
    """
    if isinstance(command, CreateSchedule):
        return (_created(schedule, command, _given(times), meta),)
    if schedule is None:
        raise NotFound("There is no such schedule.")
    if schedule.status == _LEADS_TO[type(command)]:
        return ()
    match command:
        case PauseSchedule(reason=reason):
            SCHEDULE.target("pause", schedule.status)
            return (_paused(schedule, "asked", reason, meta),)
        case ResumeSchedule():
            SCHEDULE.target("resume", schedule.status)
            return (_resumed(schedule, _given(times), meta),)
        case DeleteSchedule():
            return (_deleted(schedule, meta),)
        case _:
            assert_never(command)


_LEADS_TO: dict[type, ScheduleStatus] = {
    PauseSchedule: "paused",
    ResumeSchedule: "active",
    DeleteSchedule: "deleted",
}


def fire(
    schedule: Schedule, times: Times, submit: Callable[[], Sequence[Event]], meta: Metadata
) -> tuple[Event, ...]:
    """Submit the task that is due, together with the fact that it was; nothing before its time.

    `submit()` gives the events of the submission, the task's own first, and may refuse as it would
    refuse its user: then the firing is skipped, and after `skips_max` in a row the schedule pauses.
    """
    if schedule.status != "active" or schedule.next_at is None or meta.at < schedule.next_at:
        return ()
    firing = times.firing(schedule.next_at, meta.at)
    try:
        submitted = submit()
    except DomainError as refusal:
        return _skipped(schedule, firing, refusal, meta)
    return (*submitted, *_fired(schedule, firing, submitted[0].originator_id, meta))


def give_up(schedule: Schedule, refusal: DomainError, meta: Metadata) -> tuple[SchedulePaused, ...]:
    """Pause a schedule whose times cannot be told any more, such as in a zone that has gone."""
    SCHEDULE.target("pause", schedule.status)
    return (_paused(schedule, "refused", clean_text(str(refusal), TEXT_LENGTH_MAX), meta),)


def _given(times: Times | None) -> Times:
    assert times is not None, "creating and resuming need the expression's times"
    return times


def _created(
    schedule: Schedule | None, command: CreateSchedule, times: Times, meta: Metadata
) -> ScheduleCreated:
    if command.priority not in PRIORITIES.values():
        choice = ", ".join(PRIORITIES)
        raise InvalidInput("Unknown priority.", ("/priority", f"must be one of {choice}"))
    next_at = _next(times, meta.at)
    if schedule is not None:
        raise AlreadyExists("There is a schedule of that id already.")
    return ScheduleCreated(
        originator_id=command.schedule_id,
        originator_version=1,
        meta=meta,
        account_id=command.account_id,
        cron=command.cron,
        zone=command.zone,
        type=command.type,
        input=command.input,
        priority=command.priority,
        skips_max=command.skips_max,
        next_at=next_at,
        name=command.name,
        project=command.project,
    )


def _next(times: Times, at: datetime) -> datetime:
    next_at = times.after(at)
    if next_at is None:
        raise InvalidInput("The schedule would never fire.", ("/cron", "is no time to come"))
    return next_at


def _fired(
    schedule: Schedule, firing: Firing, task_id: UUID, meta: Metadata
) -> tuple[ScheduleEvent, ...]:
    SCHEDULE.target("fire", schedule.status)
    fired = ScheduleFired(
        originator_id=schedule.id,
        originator_version=schedule.version + 1,
        meta=meta,
        task_id=task_id,
        due_at=firing.due_at,
        next_at=firing.next_at,
        missed=firing.missed,
    )
    return (fired, *_over(evolve(schedule, fired), meta))


def _skipped(
    schedule: Schedule, firing: Firing, refusal: DomainError, meta: Metadata
) -> tuple[ScheduleEvent, ...]:
    SCHEDULE.target("skip", schedule.status)
    skipped = ScheduleSkipped(
        originator_id=schedule.id,
        originator_version=schedule.version + 1,
        meta=meta,
        reason=refusal.code,
        detail=clean_text(str(refusal), TEXT_LENGTH_MAX),
        due_at=firing.due_at,
        skips=schedule.skips + 1,
        next_at=firing.next_at,
        missed=firing.missed,
    )
    after = evolve(schedule, skipped)
    if after.skips < after.skips_max:
        return (skipped, *_over(after, meta))
    reason = clean_text(f"{after.skips} in a row were refused; last: {refusal}", TEXT_LENGTH_MAX)
    return (skipped, _paused(after, "refused", reason, meta))


def _over(schedule: Schedule, meta: Metadata) -> tuple[SchedulePaused, ...]:
    """A schedule that has come to its last time says so."""
    if schedule.next_at is not None:
        return ()
    return (_paused(schedule, "over", "No time follows.", meta),)


def _paused(schedule: Schedule, cause: PauseCause, reason: str, meta: Metadata) -> SchedulePaused:
    return SchedulePaused(
        originator_id=schedule.id,
        originator_version=schedule.version + 1,
        meta=meta,
        cause=cause,
        reason=reason,
    )


def _resumed(schedule: Schedule, times: Times, meta: Metadata) -> ScheduleResumed:
    return ScheduleResumed(
        originator_id=schedule.id,
        originator_version=schedule.version + 1,
        meta=meta,
        next_at=_next(times, meta.at),
    )


def _deleted(schedule: Schedule, meta: Metadata) -> ScheduleDeleted:
    SCHEDULE.target("delete", schedule.status)
    return ScheduleDeleted(
        originator_id=schedule.id, originator_version=schedule.version + 1, meta=meta
    )
