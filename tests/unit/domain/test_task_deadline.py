"""Runs past their deadline: how they end, and who comes too late."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import Raw

from domain import task
from domain.errors import IllegalTransition
from domain.failure import failure
from domain.task import (
    CompleteTask,
    ExpireTask,
    FailTask,
    ReachStage,
    ReleaseTask,
    RetryTask,
    StartTask,
    TaskCommand,
)
from domain.task_events import TaskCancelled, TaskFailed
from tests.unit.domain.given import (
    FLAKY,
    NEXT_HOLD_ID,
    PATHS,
    PRICE,
    TASK_ID,
    a_task,
    fold_task,
    metadata,
    submission,
)
from tests.unit.domain.task_changes import FAR, INSTANT, TRY_AGAIN


def limited(*commands: TaskCommand) -> task.Task:
    """A task after these commands with a minute for its start, and ten from then on."""
    return a_task(*commands, submit=submission(queue_seconds_max=60, run_seconds_max=600))


EXPIRIES = [
    (limited(), "the run had 60 s to start", 0),
    (limited(*PATHS["running"]), "the run had 600 s to run", 1),
    (
        limited(*PATHS["backoff"]),
        f"the run had 600 s to run; last failure: network: {FLAKY.detail}",
        1,
    ),
    (limited(*PATHS["running"], ReleaseTask(token=1)), "the run had 600 s to run", 1),
]


@pytest.mark.parametrize(("before", "detail", "token"), EXPIRIES, ids=lambda v: str(v)[:20])
def test_a_run_past_its_deadline_fails_as_timeout(
    before: task.Task, detail: str, token: int
) -> None:
    meta = metadata(before.deadline_at)
    [event] = task.decide(before, ExpireTask(), meta)
    message = None if token else "The task could not be started in the time it has for that."
    assert event == TaskFailed(
        originator_id=TASK_ID,
        originator_version=before.version + 1,
        meta=meta,
        failure=failure("timeout", message=message, detail=detail, retryable=False),
        released=PRICE,
        token=token,
    )
    state = fold_task([event], before)
    assert (state.status, state.credits_held, state.worker) == ("failed", 0, None)
    assert state.not_before is None


def test_an_expired_run_tells_operators_what_went_wrong_before() -> None:
    cause = failure("network", detail="ConnectError: refused by 10.0.0.9")
    before = limited(StartTask(worker="w"), FailTask(token=1, failure=cause))
    [event] = task.decide(before, ExpireTask(), metadata(before.deadline_at))
    assert isinstance(event, TaskFailed)
    assert event.failure.detail.endswith("network: ConnectError: refused by 10.0.0.9")
    assert "10.0.0.9" not in event.failure.message


@pytest.mark.parametrize("status", ["queued", "running", "backoff", "cancelling"])
def test_no_run_expires_before_its_deadline(status: str) -> None:
    before = limited(*PATHS[status])
    assert task.decide(before, ExpireTask(), metadata(before.deadline_at - INSTANT)) == ()


def test_a_cancelling_task_past_its_deadline_is_cancelled() -> None:
    before = limited(*PATHS["cancelling"])
    [event] = task.decide(before, ExpireTask(), metadata(before.deadline_at))
    assert isinstance(event, TaskCancelled)
    assert event.released == PRICE


@pytest.mark.parametrize("status", ["running", "backoff"])
def test_the_worker_of_an_expired_run_comes_too_late(status: str) -> None:
    before = limited(*PATHS[status])
    meta = metadata(before.deadline_at)
    late = fold_task(task.decide(before, ExpireTask(), meta), before)
    for command in (
        CompleteTask(token=1, result=Raw(b"{}")),
        ReachStage(token=1, stage="upload", percent=40),
        ReleaseTask(token=1),
    ):
        with pytest.raises(IllegalTransition):
            task.decide(late, command, meta)
    assert task.decide(late, TRY_AGAIN, meta) == ()


def test_a_completed_run_does_not_expire() -> None:
    before = limited(*PATHS["completed"])
    assert task.decide(before, ExpireTask(), metadata(before.deadline_at + FAR)) == ()


def test_an_expired_run_can_be_opened_anew_with_all_its_attempts_and_time() -> None:
    before = limited(*PATHS["backoff"])
    late = metadata(before.deadline_at)
    before = fold_task(task.decide(before, ExpireTask(), late), before)
    retry = RetryTask(hold_id=NEXT_HOLD_ID, credits=PRICE)
    again = fold_task(task.decide(before, retry, late), before)
    assert again.deadline_at == late.at + timedelta(seconds=60)
    assert (again.failures, again.attempt, again.not_before) == (0, 0, None)
    assert task.decide(again, ExpireTask(), late) == ()
    running = fold_task(task.decide(again, StartTask(worker="w"), late), again)
    assert running.deadline_at == late.at + timedelta(seconds=600)
    event = task.decide(running, FailTask(token=2, failure=FLAKY), late)
    assert fold_task(event, running).status == "backoff"
