"""Behind: tasks hour by hour: states entered, failures, credits, and how long waits and runs took.

Later events of a task name neither its type nor when it was queued, so each task has a small row of
its own (a `TaskClock`), and the events are counted against it. All of it comes from the log alone.

A wait begins when the task could start: when it was submitted, or at a later `not_before`; when the
pause after a failed attempt is over; when it was released, stalled or retried. It ends with the
start, or with the task that nobody started. A run begins with a start and ends with its attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.event import Event
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
from projections.histogram import Histogram, bucket_of
from projections.projection import Projection, Tally

NAME = "statistics"
VERSION = 2
_MICROSECOND = timedelta(microseconds=1)
Entry = Literal[
    "queued",
    "running",
    "backoff",
    "released",
    "stalled",
    "retried",
    "cancelling",
    "completed",
    "failed",
    "cancelled",
]
"""A state entered; for those that lead back to the queue, why, so that `queued` are new tasks."""
ENTRIES: tuple[Entry, ...] = get_args(Entry)
Phase = Literal["", "wait", "run"]

ENTERED: Mapping[type[Event], Entry] = MappingProxyType(
    {
        TaskSubmitted: "queued",
        TaskStarted: "running",
        TaskAttemptFailed: "backoff",
        TaskReleased: "released",
        TaskStalled: "stalled",
        TaskRetried: "retried",
        TaskCancelRequested: "cancelling",
        TaskCompleted: "completed",
        TaskFailed: "failed",
        TaskCancelled: "cancelled",
    }
)
"""What each event is counted as. Reaching a stage enters nothing and is not counted."""


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
    """Events of one hour (UTC) that were counted alike, and the sums with them.

    `failure_type` is "" unless the state is `failed` or `backoff`. `phase` is what ended with them,
    `bucket` (of `projections.histogram`) how long it had taken, and `elapsed_us` the sum of that;
    with no phase both are 0.
    """

    hour: datetime
    type: str
    state: str
    failure_type: str = ""
    phase: Phase = ""
    bucket: int = 0
    entered: int = 0
    credits_charged: int = 0
    credits_released: int = 0
    elapsed_us: int = 0


class CountKey(NamedTuple):
    hour: datetime
    type: str
    state: str
    failure_type: str
    phase: Phase
    bucket: int


class StateCount(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one time, type, state and failure type, with the times that ended so."""

    hour: datetime
    type: str
    state: str
    failure_type: str = ""
    entered: int = 0
    credits_charged: int = 0
    credits_released: int = 0
    wait: Histogram = Histogram()
    run: Histogram = Histogram()


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
    phase, elapsed_us = _ended(before, event, after)
    return Count(
        hour=hour_of(at),
        type=after.type,
        state=ENTERED[type(event)],
        failure_type=_failure_type(event),
        phase=phase,
        bucket=bucket_of(elapsed_us),
        entered=1,
        credits_charged=getattr(event, "charged", 0),
        credits_released=getattr(event, "released", 0),
        elapsed_us=elapsed_us,
    )


def counts(before: TaskClock | None, event: Event, after: TaskClock) -> tuple[Count, ...]:
    """Each event adds one count."""
    return (count(before, event, after),)


def _ended(before: TaskClock | None, event: Event, after: TaskClock) -> tuple[Phase, int]:
    """What ended with the event, and after how many microseconds.

    One that was ended before it could start has not waited.
    """
    at = event.meta.at
    if before is None or after == before:
        return "", 0
    if before.started_at is not None:
        return "run", _elapsed_us(before.started_at, at)
    if before.due_at is not None and (before.due_at <= at or type(event) is TaskStarted):
        return "wait", _elapsed_us(before.due_at, at)
    return "", 0


def _failure_type(event: Event) -> str:
    return event.failure.type if isinstance(event, TaskFailed | TaskAttemptFailed) else ""


def _elapsed_us(since: datetime, until: datetime) -> int:
    """Never below zero: two processes' readings of the clock may differ a little."""
    return max(0, (until - since) // _MICROSECOND)


def hour_of(at: datetime) -> datetime:
    """The hour of UTC that `at` lies in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def key(row: Count) -> CountKey:
    return CountKey(row.hour, row.type, row.state, row.failure_type, row.phase, row.bucket)


def add(one: Count, other: Count) -> Count:
    """Both counts of one key together."""
    return replace(
        one,
        entered=one.entered + other.entered,
        credits_charged=one.credits_charged + other.credits_charged,
        credits_released=one.credits_released + other.credits_released,
        elapsed_us=one.elapsed_us + other.elapsed_us,
    )


STATISTICS = Projection(
    name=NAME,
    version=VERSION,
    row=TaskClock,
    events=frozenset(ENTERED),
    evolve=evolve,
    tally=Tally(row=Count, count=counts, key=key, add=add),
)
