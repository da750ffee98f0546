"""The state of a task: its machine, its fields, and how each event changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from domain.event import Event
from domain.failure import Failure
from domain.lifecycle import Lifecycle
from domain.task_events import (
    TaskAttemptFailed,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskEvent,
    TaskFailed,
    TaskReleased,
    TaskRetried,
    TaskStageReached,
    TaskStalled,
    TaskStarted,
    TaskSubmitted,
)

TaskStatus = Literal[
    "queued", "running", "backoff", "cancelling", "completed", "failed", "cancelled"
]

TASK = Lifecycle(
    "task",
    ["queued", "running", "backoff", "cancelling", "completed", "failed", "cancelled"],
    "queued",
    [
        {"trigger": "start", "source": ["queued", "backoff"], "dest": "running"},
        {"trigger": "reach_stage", "source": "running", "dest": "running"},
        {"trigger": "release", "source": "running", "dest": "queued"},
        {"trigger": "release", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "stall", "source": "running", "dest": "queued", "conditions": "stalls_left"},
        {"trigger": "stall", "source": "running", "dest": "failed", "unless": "stalls_left"},
        {"trigger": "stall", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "complete", "source": ["running", "cancelling"], "dest": "completed"},
        {"trigger": "reuse", "source": "queued", "dest": "completed"},
        {
            "trigger": "fail_attempt",
            "source": "running",
            "dest": "backoff",
            "conditions": "attempts_left",
        },
        {"trigger": "expire", "source": ["queued", "running", "backoff"], "dest": "failed"},
        {"trigger": "expire", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "fail", "source": ["running", "cancelling"], "dest": "failed"},
        {"trigger": "cancel", "source": ["queued", "backoff"], "dest": "cancelled"},
        {"trigger": "cancel", "source": "running", "dest": "cancelling"},
        {"trigger": "confirm_cancel", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "retry", "source": "failed", "dest": "queued"},
    ],
)
TERMINAL = frozenset(state for state in TASK.states if TASK.terminal(state))


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of a task, and the row of its inline read model: one fold serves both.

    `not_before` is when the next attempt may start, `deadline_at` when the run fails as `timeout`;
    `failure` is that of the last attempt, or of the run; `reused_from` is the task whose result was
    taken over, with no attempt of its own. `token` fences (it grows with every
    start); `credits_held` is what is on hold now, `credits_charged` and `credits_released` are
    totals over all runs. `input` and `result` are JSON objects. `correlation_id` and `trace_id` are
    those of the request that opened the run, and `price_version` what it was priced by.
    """

    id: UUID
    version: int
    status: TaskStatus
    account_id: UUID
    type: str
    input: Raw
    priority: int
    stalls_max: int
    attempts_max: int
    queue_seconds_max: int
    run_seconds_max: int
    deadline_at: datetime
    hold_id: UUID
    created_at: datetime
    updated_at: datetime
    queued_at: datetime
    project: str | None = None
    group_id: UUID | None = None
    content_key: str | None = None
    trial: bool = False
    price_version: str | None = None
    not_before: datetime | None = None
    run: int = 1
    attempt: int = 0
    stalls: int = 0
    failures: int = 0
    token: int = 0
    worker: str | None = None
    stage: str | None = None
    percent: int = 0
    credits_held: int = 0
    credits_charged: int = 0
    credits_released: int = 0
    result: Raw | None = None
    reused_from: UUID | None = None
    failure: Failure | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    correlation_id: UUID | None = None
    trace_id: str | None = None

    @property
    def stalls_left(self) -> bool:
        return self.stalls < self.stalls_max

    @property
    def attempts_left(self) -> bool:
        return self.failures + 1 < self.attempts_max

    @property
    def claimable(self) -> bool:
        """True when it waits for a worker, or for the time when it may."""
        return self.status in {"queued", "backoff"}

    @property
    def leased(self) -> bool:
        """True while a worker has it."""
        return self.status in {"running", "cancelling"}

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


def evolve(task: Task | None, event: Event) -> Task:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if isinstance(event, TaskSubmitted):
        return _submitted(event)
    assert task is not None, "a task's first event is its submission"
    fold = _FOLDS.get(type(event))
    if fold is None:
        raise TypeError(f"{type(event).__name__} is not an event of a task")
    return fold(task, event)


def _submitted(event: TaskSubmitted) -> Task:
    at = event.meta.at
    due_at = at if event.not_before is None else max(at, event.not_before)
    return Task(
        id=event.originator_id,
        version=event.originator_version,
        status="queued",
        account_id=event.account_id,
        type=event.type,
        input=event.input,
        priority=event.priority,
        stalls_max=event.stalls_max,
        attempts_max=event.attempts_max,
        queue_seconds_max=event.queue_seconds_max,
        run_seconds_max=event.run_seconds_max,
        deadline_at=_after(due_at, event.queue_seconds_max),
        hold_id=event.hold_id,
        created_at=at,
        updated_at=at,
        queued_at=at,
        project=event.project,
        group_id=event.group_id,
        content_key=event.content_key,
        trial=event.trial,
        price_version=event.price_version,
        not_before=event.not_before,
        credits_held=event.credits,
        correlation_id=event.meta.correlation_id,
        trace_id=event.meta.trace_id,
    )


def _after(at: datetime, seconds: int) -> datetime:
    """`at` and so much more; the end of time where there is no such date."""
    try:
        return at + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _started(task: Task, event: TaskStarted) -> Task:
    deadline_at = task.deadline_at
    if event.attempt == 1:
        deadline_at = _after(event.meta.at, task.run_seconds_max)
    return replace(
        task,
        deadline_at=deadline_at,
        not_before=None,
        version=event.originator_version,
        updated_at=event.meta.at,
        status="running",
        attempt=event.attempt,
        worker=event.worker,
        token=event.token,
        stage=None,
        percent=0,
        started_at=event.meta.at,
    )


def _stage_reached(task: Task, event: TaskStageReached) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        stage=event.stage,
        percent=event.percent,
    )


def _attempt_failed(task: Task, event: TaskAttemptFailed) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        queued_at=event.meta.at,
        status="backoff",
        worker=None,
        failure=event.failure,
        failures=event.failures,
        not_before=event.retry_at,
    )


def _released(task: Task, event: TaskReleased) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        queued_at=event.meta.at,
        status="queued",
        worker=None,
    )


def _stalled(task: Task, event: TaskStalled) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        queued_at=event.meta.at,
        status="queued",
        worker=None,
        stalls=event.stalls,
    )


def _cancel_requested(task: Task, event: TaskCancelRequested) -> Task:
    return replace(
        task, version=event.originator_version, updated_at=event.meta.at, status="cancelling"
    )


def _completed(task: Task, event: TaskCompleted) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        ended_at=event.meta.at,
        status="completed",
        worker=None,
        not_before=None,
        percent=100,
        result=event.result,
        reused_from=event.reused_from,
        failure=None,
        credits_held=0,
        credits_charged=task.credits_charged + event.charged,
        credits_released=task.credits_released + event.released,
    )


def _failed(task: Task, event: TaskFailed) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        ended_at=event.meta.at,
        status="failed",
        worker=None,
        not_before=None,
        failure=event.failure,
        credits_held=0,
        credits_released=task.credits_released + event.released,
    )


def _cancelled(task: Task, event: TaskCancelled) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        ended_at=event.meta.at,
        status="cancelled",
        worker=None,
        not_before=None,
        credits_held=0,
        credits_released=task.credits_released + event.released,
    )


def _retried(task: Task, event: TaskRetried) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        queued_at=event.meta.at,
        status="queued",
        run=event.run,
        attempt=0,
        stalls=0,
        failures=0,
        not_before=None,
        deadline_at=_after(event.meta.at, task.queue_seconds_max),
        hold_id=event.hold_id,
        credits_held=event.credits,
        trial=event.trial,
        price_version=event.price_version,
        failure=None,
        stage=None,
        percent=0,
        started_at=None,
        ended_at=None,
        correlation_id=event.meta.correlation_id,
        trace_id=event.meta.trace_id,
    )


_FOLDS: Mapping[type[Event], Callable[[Task, Any], Task]] = MappingProxyType(
    {
        TaskStarted: _started,
        TaskStageReached: _stage_reached,
        TaskAttemptFailed: _attempt_failed,
        TaskReleased: _released,
        TaskStalled: _stalled,
        TaskCancelRequested: _cancel_requested,
        TaskCompleted: _completed,
        TaskFailed: _failed,
        TaskCancelled: _cancelled,
        TaskRetried: _retried,
    }
)
assert {TaskSubmitted, *_FOLDS} == set(get_args(TaskEvent)), "each event has its fold"
