"""Schedules before a test begins, and times to reckon with: every hour, on the hour."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from msgspec import Raw

from domain import schedule
from domain.event import Event
from domain.schedule import (
    CreateSchedule,
    DeleteSchedule,
    Firing,
    PauseSchedule,
    Schedule,
    ScheduleCommand,
)
from tests.unit.domain.given import ACCOUNT_ID, NOON, metadata

SCHEDULE_ID = UUID(int=900)
HOUR = timedelta(hours=1)


class Hourly(msgspec.Struct, frozen=True):
    """Every full hour, up to `last`."""

    last: datetime = datetime.max.replace(tzinfo=NOON.tzinfo)

    def after(self, at: datetime) -> datetime | None:
        following = at.replace(minute=0, second=0, microsecond=0) + HOUR
        return following if following <= self.last else None

    def firing(self, due_at: datetime, now: datetime) -> Firing:
        latest = min(now.replace(minute=0, second=0, microsecond=0), self.last)
        missed = int((latest - due_at) / HOUR)
        return Firing(due_at=latest, next_at=self.after(latest), missed=missed)


HOURLY = Hourly()


def creation(*, skips_max: int = 3, priority: int = 2) -> CreateSchedule:
    return CreateSchedule(
        schedule_id=SCHEDULE_ID,
        account_id=ACCOUNT_ID,
        cron="0 * * * *",
        zone="UTC",
        type="media_extraction",
        input=Raw(b'{"url":"https://example.org/a.mp4"}'),
        priority=priority,
        skips_max=skips_max,
        name="hourly",
        project="films",
    )


def fold_schedule(events: Iterable[Event], state: Schedule | None = None) -> Schedule:
    for event in events:
        if event.originator_id == SCHEDULE_ID:
            state = schedule.evolve(state, event)
    assert state is not None
    return state


def a_schedule(*commands: ScheduleCommand, create: CreateSchedule | None = None) -> Schedule:
    """A schedule after these commands, all at noon."""
    state: Schedule | None = None
    for command in (create or creation(), *commands):
        state = fold_schedule(schedule.decide(state, command, HOURLY, metadata()), state)
    assert state is not None
    return state


def schedule_in(status: str) -> Schedule:
    paths: dict[str, tuple[ScheduleCommand, ...]] = {
        "active": (),
        "paused": (PauseSchedule(reason="holidays"),),
        "deleted": (DeleteSchedule(),),
    }
    return a_schedule(*paths[status])
