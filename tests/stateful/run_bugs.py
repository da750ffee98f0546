"""Bugs to plant in how a run is tried, bounded in time, and given its priority."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from msgspec.structs import replace

from domain import ledger, metering, task, task_state
from domain.event import Event, Metadata
from domain.ledger import CreditLedger, ReleaseHold
from domain.retry import RetryPolicy
from domain.task import ExpireTask, FailTask, Task
from domain.task_events import (
    TaskAttemptFailed,
    TaskRetried,
    TaskStalled,
    TaskStarted,
    TaskSubmitted,
)

Patch = pytest.MonkeyPatch


def failures_kept_by_a_retry(patch: Patch) -> None:
    change_fold(
        patch, TaskRetried, lambda before, _, after: replace(after, failures=before.failures)
    )


def deadline_kept_by_a_retry(patch: Patch) -> None:
    change_fold(
        patch, TaskRetried, lambda before, _, after: replace(after, deadline_at=before.deadline_at)
    )


def deadline_moved_by_every_start(patch: Patch) -> None:
    """A task whose attempts fail in time would go on for ever."""

    def moved(_: Task, event: Event, after: Task) -> Task:
        seconds = timedelta(seconds=after.run_seconds_max)
        return replace(after, deadline_at=event.meta.at + seconds)

    change_fold(patch, TaskStarted, moved)


def deadline_of_the_queue_kept_by_a_start(patch: Patch) -> None:
    change_fold(
        patch, TaskStarted, lambda before, _, after: replace(after, deadline_at=before.deadline_at)
    )


def deadline_blind_to_a_later_start(patch: Patch) -> None:
    """A task for tomorrow would expire today."""
    submitted = task_state._submitted

    def hasty(event: TaskSubmitted) -> Task:
        soon = event.meta.at + timedelta(seconds=event.queue_seconds_max)
        return replace(submitted(event), deadline_at=soon)

    patch.setattr(task_state, "_submitted", hasty)


def deadline_ignored(patch: Patch) -> None:
    change_done_before(patch, ExpireTask, lambda _state, _meta: True)


def expired_before_its_time(patch: Patch) -> None:
    change_done_before(patch, ExpireTask, lambda state, _: state.ended)


def expired_a_moment_early(patch: Patch) -> None:
    moment = timedelta(microseconds=1)
    change_done_before(
        patch, ExpireTask, lambda state, meta: state.ended or meta.at < state.deadline_at - moment
    )


def expired_again(patch: Patch) -> None:
    """A run that ended fails once more when its deadline comes."""
    table = dict(task.TASK.table)
    edges = {("expire", end): table["expire", "running"] for end in ("completed", "cancelled")}
    patch.setattr(task.TASK, "table", table | edges)
    change_done_before(patch, ExpireTask, lambda state, meta: meta.at < state.deadline_at)


def one_attempt_too_many(patch: Patch) -> None:
    patch.setattr(
        Task, "attempts_left", property(lambda state: state.failures < state.attempts_max)
    )


def one_attempt_too_few(patch: Patch) -> None:
    patch.setattr(
        Task, "attempts_left", property(lambda state: state.failures + 2 < state.attempts_max)
    )


def failures_not_counted(patch: Patch) -> None:
    """So a task would be tried for ever."""
    change_fold(
        patch, TaskAttemptFailed, lambda before, _, after: replace(after, failures=before.failures)
    )


def stalls_counted_as_failures(patch: Patch) -> None:
    change_fold(
        patch, TaskStalled, lambda before, _, after: replace(after, failures=before.failures + 1)
    )


def every_failure_tried_again(patch: Patch) -> None:
    failed = task._DECIDERS[FailTask]

    def decide(state: Task, command: FailTask, meta: Any) -> Any:
        hopeful = replace(command.failure, retryable=True)
        return failed(state, replace(command, failure=hopeful), meta)

    patch.setattr(task, "_DECIDERS", MappingProxyType({**task._DECIDERS, FailTask: decide}))


def hold_released_on_a_retried_attempt(patch: Patch) -> None:
    proceed = metering.proceed

    def hasty(
        state: Task, paying: CreditLedger, command: Any, meta: Any, *more: Any
    ) -> list[Event]:
        events = list(proceed(state, paying, command, meta, *more))
        if any(isinstance(event, TaskAttemptFailed) for event in events):
            release = ReleaseHold(hold_id=state.hold_id)
            events += ledger.decide(paying, release, meta)
        return events

    patch.setattr(metering, "proceed", hasty)


def results_taken_during_backoff(patch: Patch) -> None:
    """The worker whose attempt failed comes back with a result after all."""
    table = dict(task.TASK.table)
    edge = {("complete", "backoff"): table["complete", "running"]}
    patch.setattr(task.TASK, "table", table | edge)
    patch.setattr(Task, "claimable", property(lambda state: state.status == "queued"))


def providers_pause_ignored(patch: Patch) -> None:
    pause = RetryPolicy.pause_seconds
    patch.setattr(
        RetryPolicy,
        "pause_seconds",
        lambda policy, number, chance, _: pause(policy, number, chance),
    )


def pauses_do_not_grow(patch: Patch) -> None:
    pause = RetryPolicy.pause_seconds
    patch.setattr(RetryPolicy, "pause_seconds", lambda policy, _, *given: pause(policy, 1, *given))


def pause_kept_by_a_start(patch: Patch) -> None:
    """A task handed back would wait for a time that has come before."""
    change_fold(
        patch, TaskStarted, lambda before, _, after: replace(after, not_before=before.not_before)
    )


def paused_past_the_deadline(patch: Patch) -> None:
    failed = task._DECIDERS[FailTask]

    def decide(state: Task, command: FailTask, meta: Any) -> Any:
        endless = replace(state, deadline_at=datetime.max.replace(tzinfo=UTC))
        return failed(endless, command, meta)

    patch.setattr(task, "_DECIDERS", MappingProxyType({**task._DECIDERS, FailTask: decide}))


def raise_forgotten(patch: Patch) -> None:
    patch.setattr(metering, "_raised", lambda priority, _: priority)


def anything_raised_to_a_priority(patch: Patch) -> None:
    patch.setattr(
        metering, "_raised", lambda priority, plan: max(0, priority - plan.priority_raise)
    )


RUN_BUGS: list[Callable[[Patch], None]] = [
    failures_kept_by_a_retry,
    deadline_kept_by_a_retry,
    deadline_moved_by_every_start,
    deadline_of_the_queue_kept_by_a_start,
    deadline_blind_to_a_later_start,
    deadline_ignored,
    expired_before_its_time,
    expired_a_moment_early,
    expired_again,
    one_attempt_too_many,
    one_attempt_too_few,
    failures_not_counted,
    stalls_counted_as_failures,
    every_failure_tried_again,
    hold_released_on_a_retried_attempt,
    results_taken_during_backoff,
    providers_pause_ignored,
    pauses_do_not_grow,
    pause_kept_by_a_start,
    paused_past_the_deadline,
    raise_forgotten,
    anything_raised_to_a_priority,
]


def change_fold(
    patch: Patch, event_type: type[Event], change: Callable[[Task, Any, Task], Task]
) -> None:
    """`change(before, event, after)` gives the state instead."""
    folds = task_state._FOLDS
    fold = folds[event_type]

    def changed(before: Task, event: Event) -> Task:
        return change(before, event, fold(before, event))

    patch.setattr(task_state, "_FOLDS", MappingProxyType({**folds, event_type: changed}))


def change_done_before(
    patch: Patch, command_type: type, done: Callable[[Task, Metadata], bool]
) -> None:
    done_before = task._done_before

    def changed(state: Task, command: Any, meta: Metadata) -> bool:
        if isinstance(command, command_type):
            return done(state, meta)
        return done_before(state, command, meta)

    patch.setattr(task, "_done_before", changed)
