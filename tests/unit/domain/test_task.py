"""Cancelling a task and running it again, and the order in which commands are refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import task
from domain.errors import (
    AlreadyExists,
    CaptureExceedsHold,
    DomainError,
    IllegalTransition,
    InvalidInput,
    LeaseLost,
    NotFound,
)
from domain.ledger_events import AccountOpened
from domain.task import (
    CancelTask,
    CompleteTask,
    ConfirmCancel,
    FailTask,
    ReachStage,
    RetryTask,
    StallTask,
    StartTask,
    TaskCommand,
)
from domain.task_events import TaskCancelled, TaskCancelRequested, TaskRetried
from tests.unit.domain.given import (
    BROKEN,
    FLAKY,
    HOLD_ID,
    NEXT_HOLD_ID,
    PATHS,
    PRICE,
    TASK_ID,
    a_task,
    fold_task,
    retried_task,
    submission,
    task_in,
)
from tests.unit.domain.task_changes import FAR, INSTANT, LATER, META, changes, decide_one


def test_a_task_in_backoff_is_cancelled_at_once() -> None:
    before = task_in("backoff")
    event = decide_one(before, CancelTask(reason="too slow"))
    assert isinstance(event, TaskCancelled)
    assert changes(before, event) == {
        "status": "cancelled",
        "not_before": None,
        "ended_at": LATER,
        "credits_held": 0,
        "credits_released": PRICE,
    }


def test_a_queued_task_is_cancelled_at_once() -> None:
    before = task_in("queued")
    event = decide_one(before, CancelTask(reason="too slow"))
    assert event == TaskCancelled(
        originator_id=TASK_ID,
        originator_version=2,
        meta=META,
        released=PRICE,
        reason="too slow",
    )
    assert changes(before, event) == {
        "status": "cancelled",
        "ended_at": LATER,
        "credits_held": 0,
        "credits_released": PRICE,
    }


def test_a_running_task_is_asked_to_stop_first() -> None:
    before = task_in("running")
    event = decide_one(before, CancelTask(reason="too slow"))
    assert event == TaskCancelRequested(
        originator_id=TASK_ID, originator_version=3, meta=META, reason="too slow"
    )
    assert changes(before, event) == {"status": "cancelling"}


@pytest.mark.parametrize("command", [ConfirmCancel(token=1), StallTask(token=1)], ids=str)
def test_a_cancelling_task_ends_when_its_worker_stops_or_lapses(command: TaskCommand) -> None:
    before = task_in("cancelling")
    event = decide_one(before, command)
    assert event == TaskCancelled(
        originator_id=TASK_ID, originator_version=4, meta=META, released=PRICE
    )
    assert changes(before, event) == {
        "status": "cancelled",
        "worker": None,
        "ended_at": LATER,
        "credits_held": 0,
        "credits_released": PRICE,
    }


def test_a_retry_opens_the_next_run_with_a_new_hold() -> None:
    before = a_task(
        StartTask(worker="w"),
        StallTask(token=1),
        StartTask(worker="w"),
        FailTask(token=2, failure=FLAKY),
        StartTask(worker="w"),
        ReachStage(token=3, stage="upload", percent=40),
        FailTask(token=3, failure=BROKEN),
        submit=submission(queue_seconds_max=60),
    )
    event = decide_one(before, RetryTask(hold_id=NEXT_HOLD_ID, credits=7))
    assert event == TaskRetried(
        originator_id=TASK_ID,
        originator_version=9,
        meta=META,
        run=2,
        hold_id=NEXT_HOLD_ID,
        credits=7,
    )
    assert changes(before, event) == {
        "status": "queued",
        "queued_at": LATER,
        "run": 2,
        "attempt": 0,
        "stalls": 0,
        "failures": 0,
        "deadline_at": LATER + timedelta(seconds=60),
        "hold_id": NEXT_HOLD_ID,
        "credits_held": 7,
        "failure": None,
        "stage": None,
        "percent": 0,
        "started_at": None,
        "ended_at": None,
    }


def test_the_tokens_of_an_earlier_run_stay_stale_in_the_next() -> None:
    running = fold_task([decide_one(retried_task(), StartTask(worker="w"))], retried_task())
    assert (running.token, running.attempt, running.run) == (2, 1, 2)
    with pytest.raises(LeaseLost) as refusal:
        task.decide(running, CompleteTask(token=1, result=Raw(b"{}")), META)
    assert refusal.value.task_id == TASK_ID


def test_totals_of_credits_run_over_all_runs() -> None:
    state = a_task(
        *PATHS["failed"],
        RetryTask(hold_id=NEXT_HOLD_ID, credits=7),
        StartTask(worker="w"),
        CompleteTask(token=2, result=Raw(b"{}"), charge=5),
    )
    assert (state.credits_held, state.credits_charged) == (0, 5)
    assert state.credits_released == PRICE + 2


@pytest.mark.parametrize("status", ["queued", "running", "failed"])
def test_the_same_retry_again_is_quiet_whatever_came_of_it(status: str) -> None:
    retry = RetryTask(hold_id=NEXT_HOLD_ID, credits=PRICE)
    tail: dict[str, tuple[TaskCommand, ...]] = {
        "queued": (),
        "running": (StartTask(worker="w"),),
        "failed": (StartTask(worker="w"), FailTask(token=2, failure=BROKEN)),
    }
    again = a_task(*PATHS["failed"], retry, *tail[status])
    assert again.status == status
    assert task.decide(again, retry, META) == ()


def test_a_retry_with_the_hold_of_the_first_run_is_refused() -> None:
    """That hold was settled; a quiet answer would claim a run that never opens."""
    retry = RetryTask(hold_id=HOLD_ID, credits=PRICE)
    with pytest.raises(AlreadyExists):
        task.decide(task_in("failed"), retry, META)
    with pytest.raises(IllegalTransition):
        task.decide(task_in("queued"), retry, META)


# Refusals in order: each command breaks the rule of its row and every later one.
PRECEDENCE: list[tuple[type[DomainError], task.Task | None, TaskCommand]] = [
    (InvalidInput, task_in("queued"), submission(priority=9)),
    (InvalidInput, task_in("queued"), submission(not_before=LATER + FAR + INSTANT)),
    (AlreadyExists, task_in("queued"), submission()),
    (NotFound, None, CompleteTask(token=7, result=Raw(b"{}"), charge=-1)),
    (LeaseLost, task_in("failed"), CompleteTask(token=7, result=Raw(b"{}"), charge=-1)),
    (IllegalTransition, task_in("failed"), CompleteTask(token=1, result=Raw(b"{}"), charge=-1)),
    (CaptureExceedsHold, task_in("running"), CompleteTask(token=1, result=Raw(b"{}"), charge=-1)),
    (NotFound, None, ReachStage(token=7, stage="s", percent=101)),
    (LeaseLost, task_in("completed"), ReachStage(token=7, stage="s", percent=101)),
    (IllegalTransition, task_in("completed"), ReachStage(token=1, stage="s", percent=101)),
    (InvalidInput, task_in("running"), ReachStage(token=1, stage="s", percent=101)),
    (NotFound, None, RetryTask(hold_id=HOLD_ID, credits=1)),
    (IllegalTransition, task_in("running"), RetryTask(hold_id=HOLD_ID, credits=1)),
    (AlreadyExists, task_in("failed"), RetryTask(hold_id=HOLD_ID, credits=1)),
]


@pytest.mark.parametrize(("refusal", "before", "command"), PRECEDENCE)
def test_refusals_come_in_their_order(
    refusal: type[DomainError], before: task.Task | None, command: TaskCommand
) -> None:
    with pytest.raises(DomainError) as refused:
        task.decide(before, command, META)
    assert type(refused.value) is refusal


def test_what_was_done_before_is_quiet_before_its_charge_is_looked_at() -> None:
    command = CompleteTask(token=1, result=Raw(b"{}"), charge=PRICE + 1)
    assert task.decide(task_in("completed"), command, META) == ()


def test_an_illegal_transition_tells_what_is_possible() -> None:
    with pytest.raises(IllegalTransition, match="Cannot start a task that is running") as refusal:
        task.decide(task_in("running"), StartTask(worker="w"), META)
    assert (refusal.value.trigger, refusal.value.state) == ("start", "running")
    assert set(refusal.value.allowed) == {
        "reach_stage", "release", "stall", "complete", "fail_attempt", "expire", "fail", "cancel",
    }  # fmt: skip


def test_a_task_has_ended_in_these_states() -> None:
    assert {status for status in task.TASK.states if task_in(status).ended} == {
        "completed",
        "failed",
        "cancelled",
    }


def test_only_events_of_a_task_are_folded() -> None:
    foreign = AccountOpened(originator_id=TASK_ID, originator_version=2, meta=META, plan="p")
    with pytest.raises(TypeError, match="AccountOpened"):
        task.evolve(task_in("queued"), foreign)
    with pytest.raises(AssertionError):
        task.evolve(None, decide_one(task_in("queued"), StartTask(worker="w")))


def test_documents_are_equal_by_their_bytes() -> None:
    """`Raw` compares by content, so states with documents can be compared whole."""
    one, same = (task_in("completed") for _ in range(2))
    assert one == same
    assert one != replace(one, result=Raw(b'{"other":1}'))
    assert one != replace(one, input=Raw(b"{}"))
