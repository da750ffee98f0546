"""What each command of a task writes, in full, and what folding it assigns."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import Raw
from msgspec.structs import asdict, replace

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
    ReleaseTask,
    RetryTask,
    StallTask,
    StartTask,
    SubmitTask,
    TaskCommand,
)
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
from tests.unit.domain.given import (
    ACCOUNT_ID,
    BROKEN,
    HOLD_ID,
    NEXT_HOLD_ID,
    NOON,
    PATHS,
    PRICE,
    TASK_ID,
    a_task,
    fold_task,
    metadata,
    retried_task,
    stalled_task,
    submission,
    task_in,
)

LATER = NOON + timedelta(hours=1)
META = metadata(LATER)


def decide_one(before: task.Task | None, command: TaskCommand) -> TaskEvent:
    (event,) = task.decide(before, command, META)
    return event


def changes(before: task.Task, event: TaskEvent) -> dict[str, object]:
    """The fields that folding `event` changes, but for the version and the time of the update."""
    state = fold_task([event], before)
    assert (state.version, state.updated_at) == (before.version + 1, LATER)
    old = asdict(before) | {"version": state.version, "updated_at": state.updated_at}
    return {name: value for name, value in asdict(state).items() if value != old[name]}


def test_a_submission_is_recorded_whole() -> None:
    event = decide_one(None, submission(not_before=LATER))
    assert event == TaskSubmitted(
        originator_id=TASK_ID,
        originator_version=1,
        meta=META,
        account_id=ACCOUNT_ID,
        type="media_extraction",
        input=Raw(b'{"url":"https://example.org/a.mp4"}'),
        hold_id=HOLD_ID,
        credits=PRICE,
        priority=2,
        stalls_max=3,
        project="films",
        not_before=LATER,
    )
    assert fold_task([event]) == task.Task(
        id=TASK_ID,
        version=1,
        status="queued",
        account_id=ACCOUNT_ID,
        type="media_extraction",
        input=Raw(b'{"url":"https://example.org/a.mp4"}'),
        priority=2,
        stalls_max=3,
        hold_id=HOLD_ID,
        created_at=LATER,
        updated_at=LATER,
        queued_at=LATER,
        project="films",
        not_before=LATER,
        credits_held=PRICE,
    )


def test_a_submission_has_its_defaults() -> None:
    command = SubmitTask(
        task_id=TASK_ID,
        account_id=ACCOUNT_ID,
        type="t",
        input=Raw(b"{}"),
        hold_id=HOLD_ID,
        credits=0,
    )
    state = fold_task([decide_one(None, command)])
    assert (state.priority, state.stalls_max, state.run) == (2, 3, 1)
    assert (state.project, state.not_before, state.worker, state.result) == (None,) * 4
    assert (state.attempt, state.token, state.stalls, state.percent) == (0,) * 4


@pytest.mark.parametrize("priority", [0, 1, 2, 3])
def test_the_four_priorities_are_taken(priority: int) -> None:
    assert fold_task([decide_one(None, submission(priority=priority))]).priority == priority


@pytest.mark.parametrize("priority", [-1, 4])
@pytest.mark.parametrize("before", [None, task_in("queued")], ids=["new", "known"])
def test_an_unknown_priority_is_refused_first(before: task.Task | None, priority: int) -> None:
    with pytest.raises(InvalidInput, match="priority") as refusal:
        task.decide(before, submission(priority=priority), META)
    assert refusal.value.errors == (("/priority", "must be one of critical, high, normal, low"),)


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
        ReachStage(token=2, stage="upload", percent=40),
        FailTask(token=2, failure=BROKEN),
    )
    event = decide_one(before, RetryTask(hold_id=NEXT_HOLD_ID, credits=7))
    assert event == TaskRetried(
        originator_id=TASK_ID,
        originator_version=7,
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
        "reach_stage", "release", "stall", "complete", "fail", "cancel",
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
