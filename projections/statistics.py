"""Behind: tasks hour by hour: states entered, failures, credits, time waited and run.

Later events of a task name neither its type nor when it was queued, so each task has a small row of
its own (a `TaskClock`), and the events are counted against it. All of it comes from the log alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.event import Event
from domain.task import TaskStatus
from domain.task_events import (
    TaskAttemptFailed,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskFailed,
    TaskReleased,
    TaskRetried,
    TaskStalled,
    TaskStarted,
    TaskSubmitted,
)
from projections.projection import Projection, Tally

NAME = "statistics"
VERSION = 1
_MICROSECOND = timedelta(microseconds=1)

ENTERED: Mapping[type[Event], TaskStatus] = MappingProxyType(
    {
        TaskSubmitted: "queued",
        TaskStarted: "running",
        TaskAttemptFailed: "backoff",
        TaskReleased: "queued",
        TaskStalled: "queued",
        TaskCancelRequested: "cancelling",
        TaskCompleted: "completed",
        TaskFailed: "failed",
        TaskCancelled: "cancelled",
        TaskRetried: "queued",
    }
)
"""The state that each event leads into. Reaching a stage enters none and is not counted."""


class TaskClock(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a task's next events are counted with.

    While it waits, `due_at` is when it could first have started; while it runs, `started_at` is
    when it did.
    """

    id: UUID
    type: str
    due_at: datetime | None = None
    started_at: datetime | None = None


class Count(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How often tasks of a type entered a state in one hour (UTC), and the sums with it.

    `failure_type` is "" unless the state is `failed` or `backoff`. `waited_us` sums the waits that
    ended so (only `running` ends one); `runs` counts the attempts that ended so and `ran_us` sums
    their time. Microseconds, as integers: sums of fractions would depend on the order of events.
    """

    hour: datetime
    type: str
    state: str
    failure_type: str = ""
    entered: int = 0
    credits_charged: int = 0
    credits_released: int = 0
    waited_us: int = 0
    runs: int = 0
    ran_us: int = 0

    @property
    def wait_seconds_mean(self) -> float | None:
        """From when a task could have started until it did; of entries into `running` only."""
        return self.waited_us / self.entered / 1e6 if self.state == "running" else None

    @property
    def run_seconds_mean(self) -> float | None:
        """Of the attempts that ended with these entries; None if none did."""
        return self.ran_us / self.runs / 1e6 if self.runs else None


class CountKey(NamedTuple):
    hour: datetime
    type: str
    state: str
    failure_type: str


def evolve(clock: TaskClock | None, event: Event) -> TaskClock:
    """The task's clock after `event`."""
    at = event.meta.at
    if isinstance(event, TaskSubmitted):
        due_at = at if event.not_before is None else max(at, event.not_before)
        return TaskClock(id=event.originator_id, type=event.type, due_at=due_at)
    assert clock is not None, "a task's first event is its submission"
    match event:
        case TaskStarted():
            return replace(clock, due_at=None, started_at=at)
        case TaskCancelRequested():
            return clock
        case TaskAttemptFailed():
            return replace(clock, due_at=event.retry_at, started_at=None)
        case TaskReleased() | TaskStalled() | TaskRetried():
            return replace(clock, due_at=at, started_at=None)
        case TaskCompleted() | TaskFailed() | TaskCancelled():
            return replace(clock, due_at=None, started_at=None)
        case _:
            raise TypeError(f"{type(event).__name__} leads into no state")


def count(before: TaskClock | None, event: Event, after: TaskClock) -> Count:
    """What one event adds."""
    at = event.meta.at
    started_at = None if before is None or after.started_at is not None else before.started_at
    due_at = before.due_at if before is not None and type(event) is TaskStarted else None
    return Count(
        hour=hour_of(at),
        type=after.type,
        state=ENTERED[type(event)],
        failure_type=_failure_type(event),
        entered=1,
        credits_charged=getattr(event, "charged", 0),
        credits_released=getattr(event, "released", 0),
        waited_us=_elapsed_us(due_at, at),
        runs=0 if started_at is None else 1,
        ran_us=_elapsed_us(started_at, at),
    )


def _failure_type(event: Event) -> str:
    return event.failure.type if isinstance(event, TaskFailed | TaskAttemptFailed) else ""


def _elapsed_us(since: datetime | None, until: datetime) -> int:
    """Never below zero: two processes' readings of the clock may differ a little."""
    return 0 if since is None else max(0, (until - since) // _MICROSECOND)


def hour_of(at: datetime) -> datetime:
    """The hour of UTC that `at` lies in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def key(row: Count) -> CountKey:
    return CountKey(row.hour, row.type, row.state, row.failure_type)


def add(one: Count, other: Count) -> Count:
    """Both counts of one key together."""
    return Count(
        hour=one.hour,
        type=one.type,
        state=one.state,
        failure_type=one.failure_type,
        entered=one.entered + other.entered,
        credits_charged=one.credits_charged + other.credits_charged,
        credits_released=one.credits_released + other.credits_released,
        waited_us=one.waited_us + other.waited_us,
        runs=one.runs + other.runs,
        ran_us=one.ran_us + other.ran_us,
    )


STATISTICS = Projection(
    name=NAME,
    version=VERSION,
    row=TaskClock,
    events=frozenset(ENTERED),
    evolve=evolve,
    tally=Tally(row=Count, count=count, key=key, add=add),
)
