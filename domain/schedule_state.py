"""The state of a schedule: its machine, its fields, and how each event changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from domain.event import Event
from domain.lifecycle import Lifecycle
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

ScheduleStatus = Literal["active", "paused", "deleted"]

SCHEDULE = Lifecycle(
    "schedule",
    ["active", "paused", "deleted"],
    "active",
    [
        {"trigger": "fire", "source": "active", "dest": "active"},
        {"trigger": "skip", "source": "active", "dest": "active"},
        {"trigger": "pause", "source": "active", "dest": "paused"},
        {"trigger": "resume", "source": "paused", "dest": "active"},
        {"trigger": "delete", "source": ["active", "paused"], "dest": "deleted"},
    ],
)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the firing for `due_at` was skipped: the refusal's code, and its sentence."""

    reason: str
    detail: str
    due_at: datetime


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of a schedule, and its document: one fold serves both.

    `next_at` is when it fires next, None unless it is active. `fired` and `skipped` are counted
    from its beginning, `skips` in a row. `missed` are times at which nobody was there to fire.
    """

    id: UUID
    version: int
    status: ScheduleStatus
    account_id: UUID
    cron: str
    zone: str
    type: str
    input: Raw
    priority: int
    skips_max: int
    created_at: datetime
    updated_at: datetime
    name: str | None = None
    project: str | None = None
    next_at: datetime | None = None
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    skips: int = 0
    last_task_id: UUID | None = None
    last_due_at: datetime | None = None
    last_refusal: Refusal | None = None
    pause_cause: PauseCause | None = None
    pause_reason: str = ""

    @property
    def ended(self) -> bool:
        return self.status == "deleted"


def evolve(schedule: Schedule | None, event: Event) -> Schedule:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if isinstance(event, ScheduleCreated):
        return _created(event)
    assert schedule is not None, "a schedule's first event is its creation"
    fold = _FOLDS.get(type(event))
    if fold is None:
        raise TypeError(f"{type(event).__name__} is not an event of a schedule")
    told = replace(schedule, version=event.originator_version, updated_at=event.meta.at)
    return fold(told, event)


def _created(event: ScheduleCreated) -> Schedule:
    return Schedule(
        id=event.originator_id,
        version=event.originator_version,
        status="active",
        account_id=event.account_id,
        cron=event.cron,
        zone=event.zone,
        type=event.type,
        input=event.input,
        priority=event.priority,
        skips_max=event.skips_max,
        created_at=event.meta.at,
        updated_at=event.meta.at,
        name=event.name,
        project=event.project,
        next_at=event.next_at,
    )


def _fired(schedule: Schedule, event: ScheduleFired) -> Schedule:
    return replace(
        schedule,
        next_at=event.next_at,
        fired=schedule.fired + 1,
        missed=schedule.missed + event.missed,
        skips=0,
        last_task_id=event.task_id,
        last_due_at=event.due_at,
    )


def _skipped(schedule: Schedule, event: ScheduleSkipped) -> Schedule:
    return replace(
        schedule,
        next_at=event.next_at,
        skipped=schedule.skipped + 1,
        missed=schedule.missed + event.missed,
        skips=event.skips,
        last_due_at=event.due_at,
        last_refusal=Refusal(reason=event.reason, detail=event.detail, due_at=event.due_at),
    )


def _paused(schedule: Schedule, event: SchedulePaused) -> Schedule:
    return replace(
        schedule,
        status="paused",
        next_at=None,
        pause_cause=event.cause,
        pause_reason=event.reason,
    )


def _resumed(schedule: Schedule, event: ScheduleResumed) -> Schedule:
    return replace(
        schedule,
        status="active",
        next_at=event.next_at,
        skips=0,
        pause_cause=None,
        pause_reason="",
    )


def _deleted(schedule: Schedule, _: ScheduleDeleted) -> Schedule:
    return replace(schedule, status="deleted", next_at=None)


_FOLDS: Mapping[type[Event], Callable[[Schedule, Any], Schedule]] = MappingProxyType(
    {
        ScheduleFired: _fired,
        ScheduleSkipped: _skipped,
        SchedulePaused: _paused,
        ScheduleResumed: _resumed,
        ScheduleDeleted: _deleted,
    }
)
assert {ScheduleCreated, *_FOLDS} == set(get_args(ScheduleEvent)), "each event has its fold"
