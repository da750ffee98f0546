"""A task: one slow, costly job of one account, from submission to its one end per run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, get_args

from msgspec.structs import replace

from domain.errors import (
    AlreadyExists,
    CaptureExceedsHold,
    InvalidInput,
    LeaseLost,
    MemberOfGroup,
    NotFound,
)
from domain.event import Metadata
from domain.failure import Failure, failure
from domain.task_commands import (
    NOT_BEFORE_DAYS_MAX,
    PRIORITIES,
    QUEUE_SECONDS_MAX,
    RUN_SECONDS_MAX,
    STALLS_MAX,
    CancelTask,
    CompleteTask,
    ConfirmCancel,
    ExpireTask,
    FailTask,
    ReachStage,
    ReleaseTask,
    RetryTask,
    ReuseResult,
    RunCommand,
    StallTask,
    StartTask,
    SubmitTask,
    TaskCommand,
)
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
from domain.task_state import TASK, TERMINAL, Task, TaskStatus, evolve

__all__ = [
    "NOT_BEFORE_DAYS_MAX",
    "PRIORITIES",
    "QUEUE_SECONDS_MAX",
    "RUN_SECONDS_MAX",
    "STALLS_MAX",
    "TASK",
    "TERMINAL",
    "CancelTask",
    "CompleteTask",
    "ConfirmCancel",
    "ExpireTask",
    "FailTask",
    "ReachStage",
    "ReleaseTask",
    "RetryTask",
    "ReuseResult",
    "RunCommand",
    "StallTask",
    "StartTask",
    "SubmitTask",
    "Task",
    "TaskCommand",
    "TaskStatus",
    "decide",
    "evolve",
]

_NOT_STARTED = "The task could not be started in the time it has for that."
_ENDS_OF = {
    CompleteTask: {"completed"},
    FailTask: {"failed", "backoff"},
    ConfirmCancel: {"cancelled"},
}


def decide(task: Task | None, command: TaskCommand, meta: Metadata) -> tuple[TaskEvent, ...]:
    """Events that `command` leads to; none when it was carried out before.

    A submission is refused in this order: `InvalidInput` (priority, then `not_before`),
    `AlreadyExists`. The other commands: `NotFound`, then quiet where done before, `LeaseLost`
    (stale token), `MemberOfGroup` (a retry), `IllegalTransition` (no such edge), and last what is
    wrong with the command itself: `InvalidInput` (percent), `CaptureExceedsHold` (charge),
    `AlreadyExists` (a retry with the hold of the first run).
    """
    if isinstance(command, SubmitTask):
        return (_submitted(task, command, meta),)
    if task is None:
        raise NotFound("There is no such task.")
    if _done_before(task, command, meta):
        return ()
    return (_DECIDERS[type(command)](task, command, meta),)


def _done_before(task: Task, command: RunCommand | RetryTask, meta: Metadata) -> bool:
    match command:
        case ExpireTask():
            return task.ended or meta.at < task.deadline_at
        case CompleteTask() | FailTask() | ConfirmCancel():
            return task.token == command.token and task.status in _ENDS_OF[type(command)]
        case ReachStage(token=token, stage=stage):
            return task.status == "running" and (task.token, task.stage) == (token, stage)
        case CancelTask():
            return task.status in {"cancelling", "cancelled"}
        case ReuseResult() | RetryTask():
            return _by_this_very(task, command)
        case _:
            return False


def _by_this_very(task: Task, command: ReuseResult | RetryTask) -> bool:
    """Whether the task ended with this result, or its run was opened with this hold."""
    if isinstance(command, ReuseResult):
        return task.reused_from == command.origin_id
    return task.run > 1 and task.hold_id == command.hold_id


def _guard_lease(task: Task, token: int) -> None:
    if token != task.token or task.claimable:
        raise LeaseLost(task.id)


def _submitted(task: Task | None, command: SubmitTask, meta: Metadata) -> TaskSubmitted:
    if command.priority not in PRIORITIES.values():
        raise InvalidInput(
            "Unknown priority.", ("/priority", "must be one of " + ", ".join(PRIORITIES))
        )
    _guard_not_before(command.not_before, meta.at)
    if task is not None:
        raise AlreadyExists("There is a task of that id already.")
    # No more than fifteen: with one more, Python makes a dictionary of them, four times as slow.
    submitted = TaskSubmitted(
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
        attempts_max=command.attempts_max,
        queue_seconds_max=command.queue_seconds_max,
        run_seconds_max=command.run_seconds_max,
        project=command.project,
        price_version=command.price_version,
    )
    return replace(
        submitted,
        not_before=command.not_before,
        group_id=command.group_id,
        content_key=command.content_key,
        trial=command.trial,
    )


def _guard_not_before(not_before: datetime | None, at: datetime) -> None:
    if not_before is not None and not_before - at > timedelta(days=NOT_BEFORE_DAYS_MAX):
        sentence = f"must be at most {NOT_BEFORE_DAYS_MAX} days ahead"
        raise InvalidInput("The start is too far ahead.", ("/not_before", sentence))


def _started(task: Task, command: StartTask, meta: Metadata) -> TaskStarted:
    TASK.target("start", task.status)
    return TaskStarted(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        run=task.run,
        attempt=task.attempt + 1,
        worker=command.worker,
        token=task.token + 1,
    )


def _stage_reached(task: Task, command: ReachStage, meta: Metadata) -> TaskStageReached:
    _guard_lease(task, command.token)
    TASK.target("reach_stage", task.status)
    if not 0 <= command.percent <= 100:  # noqa: PLR2004 - a percentage
        raise InvalidInput("Percent out of range.", ("/percent", "must be 0 to 100"))
    return TaskStageReached(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        token=command.token,
        stage=command.stage,
        percent=command.percent,
    )


def _released(task: Task, command: ReleaseTask, meta: Metadata) -> TaskReleased | TaskCancelled:
    _guard_lease(task, command.token)
    if TASK.target("release", task.status) == "cancelled":
        return _cancelled(task, command.reason, meta)
    return TaskReleased(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        token=command.token,
        reason=command.reason,
    )


def _stalled(
    task: Task, command: StallTask, meta: Metadata
) -> TaskStalled | TaskFailed | TaskCancelled:
    _guard_lease(task, command.token)
    target = TASK.target("stall", task.status, task)
    if target == "cancelled":
        return _cancelled(task, "", meta)
    if target == "failed":
        lapsed = failure("stalled", detail=f"{task.stalls + 1} leases lapsed")
        return _ended_by(lapsed, task, command.token, meta)
    return TaskStalled(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        token=command.token,
        stalls=task.stalls + 1,
    )


def _completed(task: Task, command: CompleteTask, meta: Metadata) -> TaskCompleted:
    _guard_lease(task, command.token)
    TASK.target("complete", task.status)
    held = task.credits_held
    charged = held if command.charge is None else command.charge
    if not 0 <= charged <= held:
        raise CaptureExceedsHold(charged, held)
    return TaskCompleted(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        token=command.token,
        result=command.result,
        charged=charged,
        released=held - charged,
        quantities=command.quantities,
    )


def _reused(task: Task, command: ReuseResult, meta: Metadata) -> TaskCompleted:
    TASK.target("reuse", task.status)
    return TaskCompleted(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        token=task.token,
        result=command.result,
        charged=task.credits_held,
        reused_from=command.origin_id,
    )


def _failed(task: Task, command: FailTask, meta: Metadata) -> TaskFailed | TaskAttemptFailed:
    _guard_lease(task, command.token)
    if command.failure.retryable and task.status == "running" and task.attempts_left:
        failures = task.failures + 1
        pause = command.policy.pause_seconds(failures, command.chance, command.retry_after_seconds)
        retry_at = meta.at + timedelta(seconds=pause)
        if retry_at < task.deadline_at:
            return _attempt_failed(task, command, meta, retry_at)
    TASK.target("fail", task.status)
    return _ended_by(command.failure, task, command.token, meta)


def _attempt_failed(
    task: Task, command: FailTask, meta: Metadata, retry_at: datetime
) -> TaskAttemptFailed:
    TASK.target("fail_attempt", task.status, task)
    return TaskAttemptFailed(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        token=command.token,
        failure=_in_stage(command.failure, task),
        failures=task.failures + 1,
        retry_at=retry_at,
    )


def _expired(task: Task, command: ExpireTask, meta: Metadata) -> TaskFailed | TaskCancelled:  # noqa: ARG001
    if TASK.target("expire", task.status) == "cancelled":
        return _cancelled(task, "", meta)
    message, limit = (
        (None, f"{task.run_seconds_max} s to run")
        if task.attempt
        else (_NOT_STARTED, f"{task.queue_seconds_max} s to start")
    )
    last = f"; last failure: {task.failure.type}: {task.failure.detail}" if task.failure else ""
    late = failure("timeout", message=message, detail=f"the run had {limit}{last}", retryable=False)
    return _ended_by(late, task, task.token, meta)


def _in_stage(reason: Failure, task: Task) -> Failure:
    return reason if reason.stage else replace(reason, stage=task.stage)


def _ended_by(reason: Failure, task: Task, token: int, meta: Metadata) -> TaskFailed:
    return TaskFailed(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        failure=_in_stage(reason, task),
        released=task.credits_held,
        token=token,
    )


def _cancel_requested(
    task: Task, command: CancelTask, meta: Metadata
) -> TaskCancelRequested | TaskCancelled:
    if TASK.target("cancel", task.status) == "cancelled":
        return _cancelled(task, command.reason, meta)
    return TaskCancelRequested(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        reason=command.reason,
    )


def _cancel_confirmed(task: Task, command: ConfirmCancel, meta: Metadata) -> TaskCancelled:
    _guard_lease(task, command.token)
    TASK.target("confirm_cancel", task.status)
    return _cancelled(task, "", meta)


def _cancelled(task: Task, reason: str, meta: Metadata) -> TaskCancelled:
    return TaskCancelled(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        released=task.credits_held,
        reason=reason,
    )


def _retried(task: Task, command: RetryTask, meta: Metadata) -> TaskRetried:
    if task.group_id is not None:
        raise MemberOfGroup("retry", task.group_id)
    TASK.target("retry", task.status)
    if command.hold_id == task.hold_id:
        raise AlreadyExists("A retry needs a new hold.")
    return TaskRetried(
        originator_id=task.id,
        originator_version=task.version + 1,
        meta=meta,
        run=task.run + 1,
        hold_id=command.hold_id,
        credits=command.credits,
        trial=command.trial,
        price_version=command.price_version,
    )


_DECIDERS: Mapping[type, Callable[[Task, Any, Metadata], TaskEvent]] = MappingProxyType(
    {
        StartTask: _started,
        ReachStage: _stage_reached,
        ReleaseTask: _released,
        StallTask: _stalled,
        CompleteTask: _completed,
        ReuseResult: _reused,
        FailTask: _failed,
        ExpireTask: _expired,
        CancelTask: _cancel_requested,
        ConfirmCancel: _cancel_confirmed,
        RetryTask: _retried,
    }
)
assert {SubmitTask, *_DECIDERS} == set(get_args(TaskCommand)), "each command has its decider"
