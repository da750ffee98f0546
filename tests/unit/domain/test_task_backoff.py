"""Attempts that fail and are tried again: pauses, their number, and when none is left."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import task
from domain.task import (
    CompleteTask,
    FailTask,
    ReachStage,
    ReleaseTask,
    StallTask,
    StartTask,
    TaskCommand,
)
from domain.task_events import TaskAttemptFailed, TaskFailed
from tests.unit.domain.given import (
    BROKEN,
    FLAKY,
    PATHS,
    PRICE,
    TASK_ID,
    a_task,
    fold_task,
    submission,
    task_in,
)
from tests.unit.domain.task_changes import LATER, META, TRY_AGAIN, changes, decide_one


def test_a_failed_attempt_keeps_the_hold_and_waits_for_the_next() -> None:
    before = a_task(StartTask(worker="w"), ReachStage(token=1, stage="upload", percent=40))
    event = decide_one(before, TRY_AGAIN)
    assert event == TaskAttemptFailed(
        originator_id=TASK_ID,
        originator_version=4,
        meta=META,
        token=1,
        failure=replace(FLAKY, stage="upload"),
        failures=1,
        retry_at=LATER + timedelta(seconds=10),
    )
    assert changes(before, event) == {
        "status": "backoff",
        "worker": None,
        "queued_at": LATER,
        "failure": replace(FLAKY, stage="upload"),
        "failures": 1,
        "not_before": LATER + timedelta(seconds=10),
    }


@pytest.mark.parametrize(
    ("chance", "asked", "pause"), [(0.0, None, 10), (0.5, None, 7.5), (0.0, 45.5, 45.5)]
)
def test_the_pause_is_the_policys_or_what_the_provider_asks(
    chance: float, asked: float | None, pause: float
) -> None:
    command = replace(TRY_AGAIN, chance=chance, retry_after_seconds=asked)
    event = decide_one(task_in("running"), command)
    assert isinstance(event, TaskAttemptFailed)
    assert event.retry_at == LATER + timedelta(seconds=pause)


def test_the_second_pause_is_longer() -> None:
    before = a_task(*PATHS["backoff"], StartTask(worker="w"))
    event = decide_one(before, replace(TRY_AGAIN, token=2))
    assert isinstance(event, TaskAttemptFailed)
    assert (event.failures, event.retry_at) == (2, LATER + timedelta(seconds=30))


def flaky_task(failures: int, *, attempts_max: int) -> task.Task:
    """A running task of which so many attempts failed."""
    commands: list[TaskCommand] = [StartTask(worker="w")]
    for token in range(1, failures + 1):
        commands += [FailTask(token=token, failure=FLAKY), StartTask(worker="w")]
    return a_task(*commands, submit=submission(attempts_max=attempts_max))


@pytest.mark.parametrize(
    ("attempts_max", "failures", "follows"),
    [(1, 0, "failed"), (2, 0, "backoff"), (3, 1, "backoff"), (3, 2, "failed"), (4, 2, "backoff")],
)
def test_as_many_attempts_are_made_as_the_task_may_have(
    attempts_max: int, failures: int, follows: str
) -> None:
    before = flaky_task(failures, attempts_max=attempts_max)
    event = decide_one(before, FailTask(token=before.token, failure=FLAKY))
    state = fold_task([event], before)
    assert (state.status, state.attempt) == (follows, failures + 1)
    assert state.failure == FLAKY
    assert state.credits_held == (PRICE if follows == "backoff" else 0)


def test_attempts_that_were_handed_back_or_lapsed_are_no_failures() -> None:
    before = a_task(
        StartTask(worker="w"),
        ReleaseTask(token=1),
        StartTask(worker="w"),
        StallTask(token=2),
        StartTask(worker="w"),
        submit=submission(attempts_max=2),
    )
    event = decide_one(before, FailTask(token=3, failure=FLAKY))
    assert isinstance(event, TaskAttemptFailed)
    assert event.failures == 1


@pytest.mark.parametrize(
    ("asked", "follows"), [(600 - 1e-6, "backoff"), (600, "failed"), (3_000, "failed")]
)
def test_a_pause_that_outlasts_the_deadline_ends_the_run_at_once(
    asked: float, follows: str
) -> None:
    """With what went wrong: waiting for the deadline would only hide it behind a `timeout`."""
    waiting = a_task(submit=submission(run_seconds_max=600))
    before = fold_task([decide_one(waiting, StartTask(worker="w"))], waiting)
    event = decide_one(before, replace(TRY_AGAIN, retry_after_seconds=asked))
    state = fold_task([event], before)
    assert (state.status, state.failure) == (follows, FLAKY)


def test_a_failure_that_no_retry_mends_ends_the_run_at_once() -> None:
    assert isinstance(
        decide_one(task_in("running"), replace(TRY_AGAIN, failure=BROKEN)), TaskFailed
    )


def test_a_cancelling_task_whose_attempt_fails_is_not_tried_again() -> None:
    event = decide_one(task_in("cancelling"), TRY_AGAIN)
    assert isinstance(event, TaskFailed)
    assert event.released == PRICE


def test_the_next_attempt_shows_the_failure_of_the_last_until_it_succeeds() -> None:
    again = a_task(*PATHS["backoff"], StartTask(worker="w"))
    assert (again.status, again.attempt, again.failure) == ("running", 2, FLAKY)
    event = decide_one(again, CompleteTask(token=2, result=Raw(b"{}")))
    assert changes(again, event)["failure"] is None
