"""The facts of a task's life; their topics, versions and fields are kept for ever."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import msgspec
from msgspec import Raw

from domain.event import Count, Credits, Event, Name, Percent, Text, Timestamp
from domain.failure import Failure


class TaskSubmitted(Event, frozen=True, kw_only=True):
    """A task was accepted; its credits are held by the same commit. `input` is a JSON object.

    With `group_id` it is a member of that group, and `hold_id` the group's hold. Tasks of one
    `content_key` would come to the same result. A free `trial` costs nothing. What it is charged at
    its end goes by the prices of `price_version`.
    """

    TOPIC: ClassVar[str] = "task.submitted"

    account_id: UUID
    type: Name
    input: Raw
    hold_id: UUID
    credits: Credits
    priority: Count
    stalls_max: Count
    attempts_max: Count
    queue_seconds_max: Count
    run_seconds_max: Count
    project: Name | None = None
    not_before: Timestamp | None = None
    group_id: UUID | None = None
    content_key: Name | None = None
    trial: bool = False
    price_version: Name | None = None


class Quantity(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """So much of a unit; `amount` is an exact decimal."""

    unit: Name
    amount: Name


class TaskStarted(Event, frozen=True, kw_only=True):
    """A worker began an attempt; `token` fences off every earlier one."""

    TOPIC: ClassVar[str] = "task.started"

    run: Count
    attempt: Count
    worker: Name
    token: Count


class TaskStageReached(Event, frozen=True, kw_only=True):
    """The attempt came to a named stage of its type."""

    TOPIC: ClassVar[str] = "task.stage_reached"

    token: Count
    stage: Name
    percent: Percent


class TaskAttemptFailed(Event, frozen=True, kw_only=True):
    """An attempt ended without a result; the next one may start at `retry_at`. The hold stays."""

    TOPIC: ClassVar[str] = "task.attempt_failed"

    token: Count
    failure: Failure
    failures: Count
    retry_at: Timestamp


class TaskReleased(Event, frozen=True, kw_only=True):
    """The worker handed the task back unfinished; it is queued again and keeps its hold."""

    TOPIC: ClassVar[str] = "task.released"

    token: Count
    reason: Text = ""


class TaskStalled(Event, frozen=True, kw_only=True):
    """The lease lapsed without an answer; the task is queued again, for the `stalls`th time."""

    TOPIC: ClassVar[str] = "task.stalled"

    token: Count
    stalls: Count


class TaskCancelRequested(Event, frozen=True, kw_only=True):
    """The worker is to be told to stop."""

    TOPIC: ClassVar[str] = "task.cancel_requested"

    reason: Text = ""


class TaskCompleted(Event, frozen=True, kw_only=True):
    """The whole result (a JSON object); `charged` was captured and `released` given back.

    `reused_from` is the task that came to the result, where it is not this one. `quantities` are
    those by which the charge was measured, at the prices of the version that was held for.
    """

    TOPIC: ClassVar[str] = "task.completed"

    token: Count
    result: Raw
    charged: Credits
    released: Credits = 0
    reused_from: UUID | None = None
    quantities: tuple[Quantity, ...] = ()


class TaskFailed(Event, frozen=True, kw_only=True):
    """The run ended without a result; the whole hold was given back."""

    TOPIC: ClassVar[str] = "task.failed"

    failure: Failure
    released: Credits
    token: Count = 0


class TaskCancelled(Event, frozen=True, kw_only=True):
    """The task ended at its user's wish; the whole hold was given back."""

    TOPIC: ClassVar[str] = "task.cancelled"

    released: Credits
    reason: Text = ""


class TaskRetried(Event, frozen=True, kw_only=True):
    """Its user opened the next run of a failed task, with a new hold."""

    TOPIC: ClassVar[str] = "task.retried"

    run: Count
    hold_id: UUID
    credits: Credits
    trial: bool = False
    price_version: Name | None = None


TaskEvent = (
    TaskSubmitted
    | TaskStarted
    | TaskStageReached
    | TaskAttemptFailed
    | TaskReleased
    | TaskStalled
    | TaskCancelRequested
    | TaskCompleted
    | TaskFailed
    | TaskCancelled
    | TaskRetried
)
