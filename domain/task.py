"""A task: one slow, costly job of one account, from submission to its one end per run."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from domain.errors import AlreadyExists, InvalidInput, LeaseLost, NotFound
from domain.event import Event, Metadata
from domain.failure import Failure, failure
from domain.lifecycle import Lifecycle
from domain.task_events import (
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

TaskStatus = Literal["queued", "running", "cancelling", "completed", "failed", "cancelled"]
PRIORITIES = {"critical": 0, "high": 1, "normal": 2, "low": 3}
STALLS_MAX = 3
"""Lapsed leases of one run after which it fails as `stalled`."""

TASK = Lifecycle(
    "task",
    ["queued", "running", "cancelling", "completed", "failed", "cancelled"],
    "queued",
    [
        {"trigger": "start", "source": "queued", "dest": "running"},
        {"trigger": "reach_stage", "source": "running", "dest": "running"},
        {"trigger": "release", "source": "running", "dest": "queued"},
        {"trigger": "release", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "stall", "source": "running", "dest": "queued", "conditions": "stalls_left"},
        {"trigger": "stall", "source": "running", "dest": "failed", "unless": "stalls_left"},
        {"trigger": "stall", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "complete", "source": ["running", "cancelling"], "dest": "completed"},
        {"trigger": "fail", "source": ["running", "cancelling"], "dest": "failed"},
        {"trigger": "cancel", "source": "queued", "dest": "cancelled"},
        {"trigger": "cancel", "source": "running", "dest": "cancelling"},
        {"trigger": "confirm_cancel", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "retry", "source": "failed", "dest": "queued"},
    ],
)
TERMINAL = frozenset(state for state in TASK.states if TASK.terminal(state))


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of a task, and the row of its inline read model: one fold serves both, so they cannot differ.

    `token` fences (it grows with every start); `credits_held` is what is on hold now, `credits_charged` and
    `credits_released` are totals over all runs. `input` and `result` are JSON objects.
    """

    id: UUID
    version: int
    status: TaskStatus
    account_id: UUID
    type: str
    input: Raw
    priority: int
    stalls_max: int
    hold_id: UUID
    created_at: datetime
    updated_at: datetime
    queued_at: datetime
    project: str | None = None
    not_before: datetime | None = None
    run: int = 1
    attempt: int = 0
    stalls: int = 0
    token: int = 0
    worker: str | None = None
    stage: str | None = None
    percent: int = 0
    credits_held: int = 0
    credits_charged: int = 0
    credits_released: int = 0
    result: Raw | None = None
    failure: Failure | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def stalls_left(self) -> bool:
        return self.stalls < self.stalls_max

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


class SubmitTask(msgspec.Struct, frozen=True, kw_only=True):
    """`credits` is what the hold takes; `priority` is a value of `PRIORITIES`."""

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
    hold_id: UUID
    credits: int


TaskCommand = (
    SubmitTask
    | StartTask
    | ReachStage
    | ReleaseTask
    | StallTask
    | CompleteTask
    | FailTask
    | CancelTask
    | ConfirmCancel
    | RetryTask
)
_END_OF = {CompleteTask: "completed", FailTask: "failed", ConfirmCancel: "cancelled"}


def decide(task: Task | None, command: TaskCommand, meta: Metadata) -> tuple[TaskEvent, ...]:
    """Events that `command` leads to; none when it was carried out before.

    Raises `AlreadyExists`, `NotFound`, `LeaseLost` (stale token) before `IllegalTransition` (no such edge).
    """
    if isinstance(command, SubmitTask):
        return (_submitted(task, command, meta),)
    if task is None:
        raise NotFound("There is no such task.")
    if _done_before(task, command):
        return ()
    next_version = task.version + 1
    match command:
        case StartTask(worker=worker):
            TASK.target("start", task.status)
            return (
                TaskStarted(
                    originator_id=task.id,
                    originator_version=next_version,
                    meta=meta,
                    run=task.run,
                    attempt=task.attempt + 1,
                    worker=worker,
                    token=task.token + 1,
                ),
            )
        case ReachStage(token=token, stage=stage, percent=percent):
            _guard_lease(task, token)
            TASK.target("reach_stage", task.status)
            return (
                TaskStageReached(
                    originator_id=task.id,
                    originator_version=next_version,
                    meta=meta,
                    token=token,
                    stage=stage,
                    percent=percent,
                ),
            )
        case ReleaseTask(token=token, reason=reason):
            _guard_lease(task, token)
            if TASK.target("release", task.status) == "cancelled":
                return (_cancelled(task, meta, reason),)
            return (
                TaskReleased(
                    originator_id=task.id,
                    originator_version=next_version,
                    meta=meta,
                    token=token,
                    reason=reason,
                ),
            )
        case StallTask(token=token):
            _guard_lease(task, token)
            return (_stalled(task, token, meta),)
        case CompleteTask(token=token, result=result, charge=charge):
            _guard_lease(task, token)
            TASK.target("complete", task.status)
            charged = task.credits_held if charge is None else charge
            return (
                TaskCompleted(
                    originator_id=task.id,
                    originator_version=next_version,
                    meta=meta,
                    token=token,
                    result=result,
                    charged=charged,
                    released=task.credits_held - charged,
                ),
            )
        case FailTask(token=token, failure=reason):
            _guard_lease(task, token)
            TASK.target("fail", task.status)
            return (_failed(task, token, reason, meta),)
        case CancelTask(reason=reason):
            if TASK.target("cancel", task.status) == "cancelled":
                return (_cancelled(task, meta, reason),)
            return (
                TaskCancelRequested(
                    originator_id=task.id,
                    originator_version=next_version,
                    meta=meta,
                    reason=reason,
                ),
            )
        case ConfirmCancel(token=token):
            _guard_lease(task, token)
            TASK.target("confirm_cancel", task.status)
            return (_cancelled(task, meta, ""),)
        case RetryTask(hold_id=hold_id, credits=amount):
            TASK.target("retry", task.status)
            return (
                TaskRetried(
                    originator_id=task.id,
                    originator_version=next_version,
                    meta=meta,
                    run=task.run + 1,
                    hold_id=hold_id,
                    credits=amount,
                ),
            )
        case _:
            assert_never(command)


def _done_before(task: Task, command: TaskCommand) -> bool:
    match command:
        case CancelTask():
            return task.status in {"cancelling", "cancelled"}
        case CompleteTask() | FailTask() | ConfirmCancel():
            return task.token == command.token and task.status == _END_OF[type(command)]
        case ReachStage(token=token, stage=stage):
            return task.status == "running" and (task.token, task.stage) == (token, stage)
        case RetryTask(hold_id=hold_id):
            return task.hold_id == hold_id
        case _:
            return False


def _guard_lease(task: Task, token: int) -> None:
    if token != task.token or task.status == "queued":
        raise LeaseLost(task.id)


def _submitted(task: Task | None, command: SubmitTask, meta: Metadata) -> TaskSubmitted:
    if task is not None:
        raise AlreadyExists("There is a task of that id already.")
    if command.priority not in PRIORITIES.values():
        raise InvalidInput(
            "Unknown priority.", ("/priority", "must be one of " + ", ".join(PRIORITIES))
        )
    return TaskSubmitted(
        originator_id=command.task_id,
        originator_version=1,
        meta=meta,
        account_id=command.account_id,
        type=command.type,
        input=command.input,
        hold_id=command.hold_id,
        credits=command.credits,
        priority=command.priority,
        stalls_max=command.stalls_max,
        project=command.project,
        not_before=command.not_before,
    )


def _stalled(task: Task, token: int, meta: Metadata) -> TaskStalled | TaskFailed | TaskCancelled:
    target = TASK.target("stall", task.status, task)
    if target == "queued":
        return TaskStalled(
            originator_id=task.id,
            originator_version=task.version + 1,
            meta=meta,
            token=token,
            stalls=task.stalls + 1,
        )
    if target == "failed":
        detail = f"{task.stalls + 1} leases lapsed"
        return _failed(task, token, failure("stalled", detail=detail), meta)
    return _cancelled(task, meta, "")


def _failed(task: Task, token: int, reason: Failure, meta: Metadata) -> TaskFailed:
    return TaskFailed(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        failure=reason if reason.stage else replace(reason, stage=task.stage),
        released=task.credits_held,
        token=token,
    )


def _cancelled(task: Task, meta: Metadata, reason: str) -> TaskCancelled:
    return TaskCancelled(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        released=task.credits_held,
        reason=reason,
    )


def evolve(task: Task | None, event: Event) -> Task:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if isinstance(event, TaskSubmitted):
        return _created(event)
    assert task is not None, "a task's first event is its submission"
    at = event.meta.at
    version = event.originator_version
    match event:
        case TaskStarted():
            return replace(
                task,
                version=version,
                updated_at=at,
                status="running",
                attempt=event.attempt,
                worker=event.worker,
                token=event.token,
                stage=None,
                percent=0,
                started_at=at,
            )
        case TaskStageReached():
            return replace(
                task, version=version, updated_at=at, stage=event.stage, percent=event.percent
            )
        case TaskReleased():
            return replace(
                task, version=version, updated_at=at, status="queued", worker=None, queued_at=at
            )
        case TaskStalled():
            return replace(
                task,
                version=version,
                updated_at=at,
                status="queued",
                worker=None,
                queued_at=at,
                stalls=event.stalls,
            )
        case TaskCancelRequested():
            return replace(task, version=version, updated_at=at, status="cancelling")
        case TaskCompleted():
            return replace(
                task,
                version=version,
                updated_at=at,
                ended_at=at,
                status="completed",
                worker=None,
                percent=100,
                result=event.result,
                credits_held=0,
                credits_charged=task.credits_charged + event.charged,
                credits_released=task.credits_released + event.released,
            )
        case TaskFailed():
            ended = _ended(task, event, "failed")
            return replace(ended, failure=event.failure)
        case TaskCancelled():
            return _ended(task, event, "cancelled")
        case TaskRetried():
            return replace(
                task,
                version=version,
                updated_at=at,
                queued_at=at,
                status="queued",
                run=event.run,
                attempt=0,
                stalls=0,
                hold_id=event.hold_id,
                credits_held=event.credits,
                failure=None,
                stage=None,
                percent=0,
                started_at=None,
                ended_at=None,
            )
        case _:
            raise TypeError(f"{type(event).__name__} is not an event of a task")


def _created(event: TaskSubmitted) -> Task:
    return Task(
        id=event.originator_id,
        version=event.originator_version,
        status="queued",
        account_id=event.account_id,
        type=event.type,
        input=event.input,
        priority=event.priority,
        stalls_max=event.stalls_max,
        hold_id=event.hold_id,
        created_at=event.meta.at,
        updated_at=event.meta.at,
        queued_at=event.meta.at,
        project=event.project,
        not_before=event.not_before,
        credits_held=event.credits,
    )


def _ended(task: Task, event: TaskFailed | TaskCancelled, status: TaskStatus) -> Task:
    return replace(
        task,
        version=event.originator_version,
        updated_at=event.meta.at,
        ended_at=event.meta.at,
        status=status,
        worker=None,
        credits_held=0,
        credits_released=task.credits_released + event.released,
    )
