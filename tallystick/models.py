"""What the service answers with; unknown members are ignored, so that it may learn new ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from tallystick.handler import FailureType

TaskStatus = Literal[
    "queued", "running", "waiting", "backoff", "cancelling", "completed", "failed", "cancelled"
]
Priority = Literal["critical", "high", "normal", "low"]
TERMINAL: frozenset[TaskStatus] = frozenset({"completed", "failed", "cancelled"})
"""From these a task moves no more by itself."""

T = TypeVar("T")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """`percent` is 0 to 100; `completed` of `total` are in the task type's own unit."""

    percent: int = 0
    message: str | None = None
    stage: str | None = None
    completed: int | None = None
    total: int | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task failed, in words for its user; `stage` is where, None before the first."""

    type: FailureType
    message: str
    stage: str | None = None
    retryable: bool = False


class Credits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one task: on hold now, and charged and given back over all its runs."""

    held: int = 0
    charged: int = 0
    released: int = 0


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of the credits of a task or group: on hold, charged or given back, in all.

    A group's member is charged, or given back, when its group ends.
    """

    verdict: Literal["held", "charged", "refunded", "released", "not_charged"]
    credits: int
    sentence: str


class Throttle(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a task does not start now; `until` is when it ends, where that is known.

    `reason` is type_paused, account_paused, provider_paused, provider_closed, provider_rate,
    provider_full, type_full, delayed or backoff; a newer service may know more.
    """

    reason: str
    until: datetime | None = None


class QueuePlace(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks of the type go before this one, and in how many seconds it is its turn.

    `precision` is exact, at_least or about; no estimate is made up where nothing was measured.
    """

    position: int
    precision: str = "exact"
    starts_in_seconds: int | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as of its `version`; `input` and `result` are the JSON objects of its type.

    A free `trial` costs nothing. `next` is what may be done from its state; `reused_from` the task
    whose result was taken over. `throttled` says why a waiting task is not started, `queue` where
    it stands.
    """

    id: str
    type: str
    status: TaskStatus
    version: int
    created_at: datetime
    account_id: str | None = None
    priority: Priority = "normal"
    project: str | None = None
    group_id: str | None = None
    not_before: datetime | None = None
    run: int = 1
    attempt: int = 0
    progress: Progress = Progress()
    credits: Credits = Credits()
    money: Money | None = None
    trial: bool = False
    next: tuple[str, ...] = ()
    input: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    reused_from: str | None = None
    failure: Failure | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    throttled: tuple[Throttle, ...] = ()
    queue: QueuePlace | None = None

    @property
    def ended(self) -> bool:
        """Whether the task has come to its end (of this run: a failed task can be retried)."""
        return self.status in TERMINAL

    def result_as(self, schema: Callable[..., T]) -> T:
        """The result as the Struct `schema`. Raises `msgspec.ValidationError` if it is none."""
        result: T = msgspec.convert(self.result, schema)
        return result


class RefusedRetry(msgspec.Struct, frozen=True, kw_only=True):
    """A task that was not retried, and why: the code and the sentence of the refusal."""

    id: str
    code: str
    detail: str


class BulkRetry(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry in bulk came to, or with `preview` would come to.

    `matched` tasks were looked at, others may fit if `more`. `credits_needed` is the price of all
    that can be retried, `credits_held` that of the `retried`; `available` is the balance before.
    """

    preview: bool
    matched: int
    more: bool
    credits_needed: int
    credits_held: int
    available: int
    retried: tuple[str, ...] = ()
    refused: tuple[RefusedRetry, ...] = ()


class ScheduleRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the firing for `due_at` was skipped: the refusal's code, and its sentence."""

    reason: str
    detail: str
    due_at: datetime


class SchedulePause(msgspec.Struct, frozen=True, kw_only=True):
    """`cause`: `asked`, `refused` (too many firings in a row) or `over` (no time follows)."""

    cause: str
    reason: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is submitted at each time of `cron` in `zone`; `next_times` are the next three.

    `missed` counts times at which no process was there to fire.
    """

    id: str
    status: Literal["active", "paused", "deleted"]
    version: int
    cron: str
    zone: str
    type: str
    created_at: datetime
    name: str | None = None
    input: dict[str, Any] | None = None
    priority: Priority = "normal"
    project: str | None = None
    next_times: tuple[datetime, ...] = ()
    next: tuple[str, ...] = ()
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    last_due_at: datetime | None = None
    last_task_id: str | None = None
    last_refusal: ScheduleRefusal | None = None
    pause: SchedulePause | None = None


GroupStatus = Literal["processing", "completed", "partial", "failed", "cancelling", "cancelled"]
GROUP_ENDED: frozenset[GroupStatus] = frozenset({"completed", "partial", "failed", "cancelled"})


class GroupProgress(msgspec.Struct, frozen=True, kw_only=True):
    """`completed` of `total` members were delivered; `percent` is 0 to 100."""

    percent: int = 0
    completed: int = 0
    total: int = 0


class GroupMember(msgspec.Struct, frozen=True, kw_only=True):
    """`status`: pending, active, completed, failed, cancelled or skipped (it never started).

    `task_id` is there once its task is submitted, `task_status` and `failure` in a whole group.
    """

    type: str
    status: str
    credits: int = 0
    charged: int = 0
    task_id: str | None = None
    task_status: TaskStatus | None = None
    percent: int = 0
    run: int = 1
    failure: Failure | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as of its `version`; `members` are empty in lists."""

    id: str
    kind: str
    status: GroupStatus
    version: int
    created_at: datetime
    key: str | None = None
    account_id: str | None = None
    priority: Priority = "normal"
    project: str | None = None
    parallel_max: int = 0
    run: int = 1
    progress: GroupProgress = GroupProgress()
    credits: Credits = Credits()
    money: Money | None = None
    next: tuple[str, ...] = ()
    members: tuple[GroupMember, ...] = ()
    updated_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether the group has come to its end (of this run: it may be retried)."""
        return self.status in GROUP_ENDED


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of a task's life or of its credits; `data` holds the fields of its event `type`.

    `position` is its place in the service's log, `version` the one in its own stream.
    """

    type: str
    at: datetime
    version: int
    position: int = 0
    stream: str = "task"
    actor: str | None = None
    data: dict[str, Any] = {}


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    maximum: int
    used: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of the account's plan: tasks that are active now, and tasks begun this UTC day."""

    active_tasks: Limit
    daily_tasks: Limit


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Credits that came in: `remaining` can be held once it is not `pending`, `held` is held."""

    id: str
    kind: str
    remaining: int
    held: int
    priority: int = 0
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    pending: bool = False
    voided: bool = False


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Credits set aside for a task, a group, or something outside."""

    id: str
    amount: int
    held_at: datetime
    task_id: str | None = None
    group_id: str | None = None
    trial: bool = False
    expires_at: datetime | None = None


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What time had brought, such as `credits.expired`, without being in the log yet."""

    type: str
    amount: int


class AsOf(msgspec.Struct, frozen=True, kw_only=True):
    """When an account was as it is shown; what was due by then is `settled` in it."""

    at: datetime
    version: int
    position: int = 0
    settled: tuple[Due, ...] = ()
    grants: tuple[Grant, ...] = ()
    holds: tuple[Hold, ...] = ()


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that are kept for the account, as counted at `counted_at` and stored since.

    `stored_bytes_max` is None where the plan has no limit, `counted_at` before the first count.
    """

    stored_bytes: int
    stored_bytes_max: int | None
    counted_at: datetime | None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """granted = pending + available + held + captured + expired + voided.

    `active` counts the open holds, `trials` the free tasks; `captured` is what was charged less
    what was `refunded`. One of the past has `as_of`.
    """

    id: str
    plan: str
    status: str
    available: int
    held: int
    captured: int
    granted: int
    pending: int = 0
    expired: int = 0
    voided: int = 0
    refunded: int = 0
    active: int = 0
    trials: int = 0
    limits: Limits | None = None
    storage: Storage | None = None
    name: str | None = None
    version: int = 0
    opened_at: datetime | None = None
    updated_at: datetime | None = None
    as_of: AsOf | None = None


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of credits; `available` and `held` are the balance after it.

    `kind` is what happened (granted, held, captured, released, …); the changes are signed. The
    line's event is the one at `position` in the service's log.
    """

    kind: str
    at: datetime
    amount: int
    available: int
    held: int
    available_change: int = 0
    held_change: int = 0
    version: int = 0
    position: int = 0
    task_id: str | None = None
    group_id: str | None = None
    hold_id: str | None = None
    grant_id: str | None = None
    source_ref: str | None = None
    reason: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an account had at one moment."""

    available: int
    held: int


class KindTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The statement's lines of one kind, their amounts and their signed changes."""

    kind: str
    lines: int
    amount: int
    available_change: int
    held_change: int


class StatementSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Lines with `since` <= at < `until`: the `opening` and all changes are the `closing`.

    The statement had come to `position` of the service's log.
    """

    since: datetime
    until: datetime
    opening: Standing
    closing: Standing
    totals: tuple[KindTotal, ...] = ()
    position: int = 0


class QuoteRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """What the submission would be answered now; `code` is that of the error."""

    code: str
    status: int
    detail: str
    required: int | None = None
    available: int | None = None
    limit: str | None = None
    maximum: int | None = None
    retry_after_seconds: int | None = None
    state: str | None = None
    stored_bytes: int | None = None
    stored_bytes_max: int | None = None


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What a task would cost.

    `credits` would be held, nothing for a free `trial`; `price` is asked without one. `breakdown`
    is how it comes about, with exact decimals as text. Where it is not `accepted`, `refusal` says
    why; a `paused` one would wait.
    """

    type: str
    credits: int
    price: int
    price_version: str
    trial: bool
    reused: bool
    accepted: bool
    refusal: QuoteRefusal | None = None
    paused: tuple[str, ...] = ()
    breakdown: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an account on it is allowed; `version` is that of all plans.

    The first `trial_tasks` tasks cost nothing, `overdraft_max` credits may be owed, and the owner
    hears when fewer than `low_credits` are left. `stored_bytes_max` is what may be stored; an
    `operator` may submit the types that clean up.
    """

    name: str
    version: str
    active_tasks_max: int
    daily_tasks_max: int
    weight: int = 1
    priority_raise: int = 0
    trial_tasks: int = 0
    overdraft_max: int = 0
    low_credits: int | None = None
    stored_bytes_max: int | None = None
    operator: bool = False


class TaskType(msgspec.Struct, frozen=True, kw_only=True):
    """What can be submitted, at what price; the schemas are JSON Schema."""

    name: str
    price_credits: int
    price: dict[str, Any] = {}
    description: str = ""
    stages: dict[str, int] = {}
    attempt_seconds_max: int = 0
    cache_seconds: int | None = None
    cache_price_credits: int | None = None
    stores: bool = False
    operator: bool = False
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a live stream tells.

    `type` is `task` or `account` (the present state, first), a fact such as `task.started` or
    `credits.held`, or `progress` (between facts; without a `position` in the log). `task` is the
    task right after it, without its input; `data` is what a movement of credits, another fact or
    the progress has of its own.
    """

    type: str
    position: int | None = None
    at: datetime | None = None
    task: Task | None = None
    account: Account | None = None
    data: dict[str, Any] = {}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of anything; its items are decoded by who asked."""

    items: list[msgspec.Raw]
    next_cursor: str | None = None
