"""What can be asked of a task: by its user, its worker, or the watchdog."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Raw

from domain.failure import Failure
from domain.retry import ATTEMPTS_MAX, RetryPolicy
from domain.task_events import Quantity

PRIORITIES = {"critical": 0, "high": 1, "normal": 2, "low": 3}
STALLS_MAX = 3
"""Times that a run is queued again after a lapsed lease; one more fails it as `stalled`."""
QUEUE_SECONDS_MAX = 86_400
"""Longest wait of a run for its first start, unless its type says otherwise."""
RUN_SECONDS_MAX = 300
"""Longest time of a run from its first start, pauses included, unless its type says otherwise."""

NOT_BEFORE_DAYS_MAX = 366
"""How far ahead of its submission a task's first start may be put off."""


class SubmitTask(msgspec.Struct, frozen=True, kw_only=True):
    """`credits` is what the hold takes; `priority` is of `PRIORITIES`; `input` is a JSON object.

    `content_key` digests what the result depends on, where it may be used again. `stored_bytes` is
    what the account stores, where the task may store more and a plan bounds that; one of a type for
    the `operator` is refused to other accounts.
    """

    task_id: UUID
    account_id: UUID
    type: str
    input: Raw
    hold_id: UUID
    credits: int
    priority: int = PRIORITIES["normal"]
    stalls_max: int = STALLS_MAX
    attempts_max: int = ATTEMPTS_MAX
    queue_seconds_max: int = QUEUE_SECONDS_MAX
    run_seconds_max: int = RUN_SECONDS_MAX
    project: str | None = None
    not_before: datetime | None = None
    group_id: UUID | None = None
    content_key: str | None = None
    trial: bool = False
    price_version: str | None = None
    stored_bytes: int | None = None
    operator: bool = False


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
    """`charge` is what to capture of the hold, at most all of it; None captures the whole.

    `quantities` are those by which it was measured.
    """

    token: int
    result: Raw
    charge: int | None = None
    quantities: tuple[Quantity, ...] = ()


class ReuseResult(msgspec.Struct, frozen=True, kw_only=True):
    """Completes a queued task with the result that another one came to; charges its whole hold."""

    origin_id: UUID
    result: Raw


class FailTask(msgspec.Struct, frozen=True, kw_only=True):
    """A failure that is retryable ends the run only when no attempt is left, or no time for one.

    Else the next attempt comes after the policy's pause; it ends the run now if that pause would
    outlast its deadline. `chance` is random in [0, 1), and `retry_after_seconds` is what the
    provider asked for.
    """

    token: int
    failure: Failure
    policy: RetryPolicy = RetryPolicy()
    chance: float = 0.0
    retry_after_seconds: float | None = None


class ExpireTask(msgspec.Struct, frozen=True, kw_only=True):
    """Fails a run that is past its deadline; does nothing before it."""


class CancelTask(msgspec.Struct, frozen=True, kw_only=True):
    reason: str = ""


class ConfirmCancel(msgspec.Struct, frozen=True, kw_only=True):
    token: int


class RetryTask(msgspec.Struct, frozen=True, kw_only=True):
    """Opens the next run of a failed task; `hold_id` is the id of a new hold."""

    hold_id: UUID
    credits: int
    trial: bool = False
    price_version: str | None = None


RunCommand = (
    StartTask
    | ReachStage
    | ReleaseTask
    | StallTask
    | CompleteTask
    | ReuseResult
    | FailTask
    | ExpireTask
    | CancelTask
    | ConfirmCancel
)
"""What happens within a run; the other two open one, and take a hold for it."""
TaskCommand = SubmitTask | RunCommand | RetryTask
