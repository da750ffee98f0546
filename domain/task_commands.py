"""What can be asked of a task: by its user, its worker, or the watchdog."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Raw

from domain.failure import Failure

PRIORITIES = {"critical": 0, "high": 1, "normal": 2, "low": 3}
STALLS_MAX = 3
"""Times that a run is queued again after a lapsed lease; one more fails it as `stalled`."""


class SubmitTask(msgspec.Struct, frozen=True, kw_only=True):
    """`credits` is what the hold takes; `priority` is of `PRIORITIES`; `input` is a JSON object."""

    task_id: UUID
    account_id: UUID
    type: str
    input: Raw
    hold_id: UUID
    credits: int
    priority: int = PRIORITIES["normal"]
    stalls_max: int = STALLS_MAX
    project: str | None = None
    not_before: datetime | None = None


class StartTask(msgspec.Struct, frozen=True, kw_only=True):
    worker: str


class ReachStage(msgspec.Struct, frozen=True, kw_only=True):
    token: int
    stage: str
    percent: int


class ReleaseTask(msgspec.Struct, frozen=True, kw_only=True):
    token: int
    reason: str = ""


class StallTask(msgspec.Struct, frozen=True, kw_only=True):
    token: int


class CompleteTask(msgspec.Struct, frozen=True, kw_only=True):
    """`charge` is what to capture of the hold, at most all of it; None captures the whole."""

    token: int
    result: Raw
    charge: int | None = None


class FailTask(msgspec.Struct, frozen=True, kw_only=True):
    token: int
    failure: Failure


class CancelTask(msgspec.Struct, frozen=True, kw_only=True):
    reason: str = ""


class ConfirmCancel(msgspec.Struct, frozen=True, kw_only=True):
    token: int


class RetryTask(msgspec.Struct, frozen=True, kw_only=True):
    """Opens the next run of a failed task; `hold_id` is the id of a new hold."""

    hold_id: UUID
    credits: int


RunCommand = (
    StartTask
    | ReachStage
    | ReleaseTask
    | StallTask
    | CompleteTask
    | FailTask
    | CancelTask
    | ConfirmCancel
)
"""What happens within a run; the other two open one, and take a hold for it."""
TaskCommand = SubmitTask | RunCommand | RetryTask
