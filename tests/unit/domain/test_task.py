"""What each command of a task writes, in full, and what folding it assigns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
from domain.failure import failure
from domain.ledger_events import AccountOpened
from domain.retry import RetryPolicy
from domain.task import (
    NOT_BEFORE_DAYS_MAX,
    CancelTask,
    CompleteTask,
    ConfirmCancel,
    ExpireTask,
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
from tests.unit.domain.given import (
    ACCOUNT_ID,
    BROKEN,
    FLAKY,
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
    event = decide_one(
        None,
        submission(attempts_max=2, queue_seconds_max=60, run_seconds_max=600, not_before=LATER),
    )
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
        attempts_max=2,
        queue_seconds_max=60,
        run_seconds_max=600,
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
        attempts_max=2,
        queue_seconds_max=60,
        run_seconds_max=600,
        deadline_at=LATER + timedelta(seconds=60),
        hold_id=HOLD_ID,
        created_at=LATER,
        updated_at=LATER,
        queued_at=LATER,
        project="films",
        not_before=LATER,
        credits_held=PRICE,
        correlation_id=metadata().correlation_id,
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
    assert (state.attempt, state.token, state.stalls, state.percent, state.failures) == (0,) * 5
    assert (state.attempts_max, state.queue_seconds_max, state.run_seconds_max) == (3, 86_400, 300)


@pytest.mark.parametrize("priority", [0, 1, 2, 3])
def test_the_four_priorities_are_taken(priority: int) -> None:
    assert fold_task([decide_one(None, submission(priority=priority))]).priority == priority


@pytest.mark.parametrize("priority", [-1, 4])
@pytest.mark.parametrize("before", [None, task_in("queued")], ids=["new", "known"])
def test_an_unknown_priority_is_refused_first(before: task.Task | None, priority: int) -> None:
    with pytest.raises(InvalidInput, match="priority") as refusal:
        task.decide(before, submission(priority=priority), META)
    assert refusal.value.errors == (("/priority", "must be one of critical, high, normal, low"),)


FAR = timedelta(days=NOT_BEFORE_DAYS_MAX)
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("not_before", "due_at"),
    [(None, LATER), (LATER - FAR, LATER), (LATER, LATER), (LATER + FAR, LATER + FAR)],
)
def test_the_wait_for_a_start_is_bounded_from_when_it_may_come(
    not_before: datetime | None, due_at: datetime
) -> None:
    state = fold_task([decide_one(None, submission(not_before=not_before, queue_seconds_max=60))])
    assert state.deadline_at == due_at + timedelta(seconds=60)


@pytest.mark.parametrize("not_before", [LATER + FAR + INSTANT, datetime.max.replace(tzinfo=UTC)])
@pytest.mark.parametrize("before", [None, task_in("queued")], ids=["new", "known"])
def test_a_start_too_far_ahead_is_refused(before: task.Task | None, not_before: datetime) -> None:
    with pytest.raises(InvalidInput) as refusal:
        task.decide(before, submission(not_before=not_before), META)
    assert refusal.value.errors == (("/not_before", "must be at most 366 days ahead"),)


def test_an_event_with_a_start_at_the_end_of_time_still_folds() -> None:
    """Folding never refuses, whatever an event says that the log holds."""
    end = datetime.max.replace(tzinfo=UTC)
    event = decide_one(None, submission())
    assert isinstance(event, TaskSubmitted)
    assert fold_task([replace(event, not_before=end)]).deadline_at == end


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


POLICY = RetryPolicy(first_seconds=10, factor=3, seconds_max=60, jitter=0.5)
TRY_AGAIN = FailTask(token=1, failure=FLAKY, policy=POLICY)


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
    assert event == TaskFailed(
        originator_id=TASK_ID,
        originator_version=before.version + 1,
        meta=meta,
        failure=failure("timeout", detail=detail, retryable=False),
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
