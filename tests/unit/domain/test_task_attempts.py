"""What each command of an attempt writes, in full, and what folding it assigns."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import task
from domain.errors import CaptureExceedsHold, InvalidInput, LeaseLost
from domain.task import CompleteTask, FailTask, ReachStage, ReleaseTask, StallTask, StartTask
from domain.task_events import (
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskReleased,
    TaskStageReached,
    TaskStalled,
    TaskStarted,
)
from tests.unit.domain.given import (
    BROKEN,
    FLAKY,
    NOON,
    PATHS,
    PRICE,
    TASK_ID,
    a_task,
    fold_task,
    metadata,
    stalled_task,
    submission,
    task_in,
)
from tests.unit.domain.task_changes import LATER, META, changes, decide_one


def test_a_start_counts_the_attempt_and_renews_the_token() -> None:
    before = a_task(StartTask(worker="one"), ReachStage(token=1, stage="upload", percent=40),
                    ReleaseTask(token=1))  # fmt: skip
    event = decide_one(before, StartTask(worker="two"))
    assert event == TaskStarted(
        originator_id=TASK_ID,
        originator_version=5,
        meta=META,
        run=1,
        attempt=2,
        worker="two",
        token=2,
    )
    assert changes(before, event) == {
        "status": "running",
        "attempt": 2,
        "worker": "two",
        "token": 2,
        "stage": None,
        "percent": 0,
        "started_at": LATER,
    }


def test_only_the_first_start_of_a_run_sets_its_deadline() -> None:
    waiting = a_task(submit=submission(run_seconds_max=600))
    first = fold_task([decide_one(waiting, StartTask(worker="w"))], waiting)
    assert first.deadline_at == LATER + timedelta(seconds=600)
    for paused in (
        task.decide(first, ReleaseTask(token=1), META),
        task.decide(first, StallTask(token=1), META),
        task.decide(first, FailTask(token=1, failure=FLAKY), META),
    ):
        again = fold_task(paused, first)
        meta = metadata(LATER + timedelta(seconds=99))
        again = fold_task(task.decide(again, StartTask(worker="w"), meta), again)
        assert (again.attempt, again.deadline_at) == (2, first.deadline_at)


def test_a_task_that_waits_for_its_time_is_delayed_no_more_once_it_was_started() -> None:
    started = a_task(StartTask(worker="w"), submit=submission(not_before=NOON))
    assert started.not_before is None
    assert a_task(*PATHS["backoff"], StartTask(worker="w")).not_before is None


def test_a_stage_is_recorded_with_its_percent() -> None:
    before = task_in("running")
    event = decide_one(before, ReachStage(token=1, stage="upload", percent=40))
    assert event == TaskStageReached(
        originator_id=TASK_ID,
        originator_version=3,
        meta=META,
        token=1,
        stage="upload",
        percent=40,
    )
    assert changes(before, event) == {"stage": "upload", "percent": 40}


def test_a_stage_reached_again_is_quiet_until_another_came_between() -> None:
    upload, store = (ReachStage(token=1, stage=stage, percent=40) for stage in ("up", "store"))
    assert task.decide(a_task(StartTask(worker="w"), upload), upload, META) == ()
    assert task.decide(a_task(StartTask(worker="w"), upload, store), upload, META) != ()


def test_a_stage_of_an_earlier_attempt_is_not_taken_for_this_ones() -> None:
    upload = ReachStage(token=1, stage="upload", percent=40)
    again = a_task(StartTask(worker="w"), upload, StallTask(token=1), StartTask(worker="w"))
    with pytest.raises(LeaseLost):
        task.decide(again, upload, META)
    assert task.decide(again, replace(upload, token=2), META) != ()


@pytest.mark.parametrize(
    ("percent", "allowed"), [(-1, False), (0, True), (100, True), (101, False)]
)
def test_percent_has_bounds(percent: int, *, allowed: bool) -> None:
    command = ReachStage(token=1, stage="upload", percent=percent)
    if allowed:
        assert changes(task_in("running"), decide_one(task_in("running"), command))
        return
    with pytest.raises(InvalidInput) as refusal:
        task.decide(task_in("running"), command, META)
    assert refusal.value.errors == (("/percent", "must be 0 to 100"),)


def test_a_task_handed_back_is_queued_anew_and_keeps_its_hold() -> None:
    before = task_in("running")
    event = decide_one(before, ReleaseTask(token=1, reason="draining"))
    assert event == TaskReleased(
        originator_id=TASK_ID, originator_version=3, meta=META, token=1, reason="draining"
    )
    assert changes(before, event) == {"status": "queued", "worker": None, "queued_at": LATER}


def test_a_cancelling_task_handed_back_is_cancelled() -> None:
    before = task_in("cancelling")
    event = decide_one(before, ReleaseTask(token=1, reason="draining"))
    assert event == TaskCancelled(
        originator_id=TASK_ID,
        originator_version=4,
        meta=META,
        released=PRICE,
        reason="draining",
    )


def test_a_lapsed_lease_queues_the_task_again() -> None:
    before = stalled_task(1, stalls_max=3)
    event = decide_one(before, StallTask(token=2))
    assert event == TaskStalled(
        originator_id=TASK_ID, originator_version=5, meta=META, token=2, stalls=2
    )
    assert changes(before, event) == {
        "status": "queued",
        "worker": None,
        "queued_at": LATER,
        "stalls": 2,
    }


@pytest.mark.parametrize(("stalls", "follows"), [(2, "queued"), (3, "failed")])
def test_three_lapses_queue_again_and_the_fourth_fails(stalls: int, follows: str) -> None:
    before = stalled_task(stalls, stalls_max=3)
    event = decide_one(before, StallTask(token=before.token))
    assert fold_task([event], before).status == follows
    if isinstance(event, TaskFailed):
        assert event.failure.type == "stalled"
        assert event.failure.detail == "4 leases lapsed"
        assert event.failure.retryable
        assert (event.released, event.token) == (PRICE, before.token)


def test_a_result_captures_the_whole_hold_unless_told_less() -> None:
    before = a_task(StartTask(worker="w"), ReachStage(token=1, stage="upload", percent=40))
    event = decide_one(before, CompleteTask(token=1, result=Raw(b'{"ok":true}')))
    assert event == TaskCompleted(
        originator_id=TASK_ID,
        originator_version=4,
        meta=META,
        token=1,
        result=Raw(b'{"ok":true}'),
        charged=PRICE,
        released=0,
    )
    assert changes(before, event) == {
        "status": "completed",
        "worker": None,
        "percent": 100,
        "result": Raw(b'{"ok":true}'),
        "ended_at": LATER,
        "credits_held": 0,
        "credits_charged": PRICE,
    }


@pytest.mark.parametrize("charge", [0, 1, PRICE])
def test_a_part_can_be_charged_and_the_rest_goes_back(charge: int) -> None:
    before = task_in("running")
    event = decide_one(before, CompleteTask(token=1, result=Raw(b"{}"), charge=charge))
    state = fold_task([event], before)
    assert (state.credits_charged, state.credits_released) == (charge, PRICE - charge)
    assert state.credits_held == 0


@pytest.mark.parametrize("charge", [-1, PRICE + 1])
def test_no_charge_leaves_the_bounds_of_the_hold(charge: int) -> None:
    command = CompleteTask(token=1, result=Raw(b"{}"), charge=charge)
    with pytest.raises(CaptureExceedsHold) as refusal:
        task.decide(task_in("running"), command, META)
    assert (refusal.value.amount, refusal.value.held) == (charge, PRICE)


def test_a_failure_gives_the_whole_hold_back_and_names_the_stage() -> None:
    before = a_task(StartTask(worker="w"), ReachStage(token=1, stage="upload", percent=40))
    event = decide_one(before, FailTask(token=1, failure=BROKEN))
    assert event == TaskFailed(
        originator_id=TASK_ID,
        originator_version=4,
        meta=META,
        failure=replace(BROKEN, stage="upload"),
        released=PRICE,
        token=1,
    )
    assert changes(before, event) == {
        "status": "failed",
        "worker": None,
        "failure": replace(BROKEN, stage="upload"),
        "ended_at": LATER,
        "credits_held": 0,
        "credits_released": PRICE,
    }


def test_a_failure_that_names_its_stage_keeps_it() -> None:
    before = a_task(StartTask(worker="w"), ReachStage(token=1, stage="upload", percent=40))
    reason = replace(BROKEN, stage="probe")
    event = decide_one(before, FailTask(token=1, failure=reason))
    assert isinstance(event, TaskFailed)
    assert event.failure == reason
