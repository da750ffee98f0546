"""Tasks are counted by hour, type and state entered, with the credits and times that go with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from domain import task
from domain.event import Event
from domain.failure import failure
from domain.task import (
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
    Task,
    TaskCommand,
)
from projections.fold import Fold
from projections.histogram import bucket_of
from projections.statistics import ENTERED, STATISTICS, Count, CountKey, Phase, hour_of
from tests.histories import History
from tests.unit.domain.given import ACCOUNT_ID, HOLD_ID, NEXT_HOLD_ID, TASK_ID, metadata

BEGIN = datetime(2026, 3, 1, 9, 50, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MINUTE_US = 60_000_000
STATUS_AFTER = {"released": "queued", "stalled": "queued", "retried": "queued"}


def counted(events: Iterable[Event]) -> dict[CountKey, Count]:
    fold = Fold(STATISTICS)
    for position, event in enumerate(events, start=1):
        fold.take(position, event)
    return {key: count for key, count in fold.tallied.items() if isinstance(key, CountKey)}


def one_task(*steps: tuple[int, TaskCommand]) -> list[Event]:
    """Events of one task to which each command comes so many minutes after BEGIN."""
    state: Task | None = None
    events: list[Event] = []
    for minutes, command in steps:
        for event in task.decide(state, command, metadata(BEGIN + minutes * MINUTE)):
            state = task.evolve(state, event)
            events.append(event)
    return events


def submitted(not_before: datetime | None = None) -> SubmitTask:
    return SubmitTask(
        task_id=TASK_ID,
        account_id=ACCOUNT_ID,
        type="video",
        input=Raw(b"{}"),
        hold_id=HOLD_ID,
        credits=10,
        not_before=not_before,
    )


START = StartTask(worker="w1")
COMPLETE = CompleteTask(token=1, result=Raw(b"{}"), charge=7)


def count(
    minutes: int,
    state: str,
    failure_type: str = "",
    *,
    waited: int | None = None,
    ran: int | None = None,
    **sums: int,
) -> Count:
    """One event; `waited` or `ran` are minutes."""
    phase: Phase = "wait" if waited is not None else "run" if ran is not None else ""
    elapsed_us = (waited or ran or 0) * MINUTE_US
    return Count(
        hour=hour_of(BEGIN + minutes * MINUTE),
        type="video",
        state=state,
        failure_type=failure_type,
        phase=phase,
        bucket=bucket_of(elapsed_us),
        entered=1,
        elapsed_us=elapsed_us,
        **sums,
    )


def test_a_completed_task_is_counted_with_its_wait_its_run_and_its_credits() -> None:
    assert list(counted(one_task((0, submitted()), (4, START), (30, COMPLETE))).values()) == [
        count(0, "queued"),
        count(4, "running", waited=4),
        count(30, "completed", ran=26, credits_charged=7, credits_released=3),
    ]


def test_a_wait_begins_when_the_task_may_start() -> None:
    later = submitted(BEGIN + 3 * MINUTE)
    past = submitted(BEGIN - 3 * MINUTE)
    for command, waited in ((later, 1), (past, 4)):
        [_, running] = counted(one_task((0, command), (4, START))).values()
        assert running == count(4, "running", waited=waited)


def test_a_failure_is_counted_by_its_type_and_a_retry_waits_anew() -> None:
    fail = FailTask(token=1, failure=failure("network", retryable=False))
    retry = RetryTask(hold_id=NEXT_HOLD_ID, credits=10)
    events = one_task((0, submitted()), (1, START), (3, fail), (20, retry), (25, START))
    assert list(counted(events).values())[2:] == [
        count(3, "failed", "network", ran=2, credits_released=10),
        count(20, "retried"),
        count(25, "running", waited=5),
    ]


def test_a_failed_attempt_has_run_and_its_pause_is_no_wait() -> None:
    fail = FailTask(token=1, failure=failure("network"), retry_after_seconds=120)
    patient = replace(submitted(), run_seconds_max=3_600)
    events = one_task((0, patient), (1, START), (9, fail), (15, START))
    assert list(counted(events).values())[2:] == [
        count(9, "backoff", "network", ran=8),
        count(15, "running", waited=4),
    ]


def test_a_task_that_expires_in_the_queue_has_waited_and_run_nothing() -> None:
    events = one_task((0, replace(submitted(), queue_seconds_max=240)), (5, ExpireTask()))
    [_, failed] = counted(events).values()
    assert failed == count(5, "failed", "timeout", waited=5, credits_released=10)


@pytest.mark.parametrize(
    ("end", "state"), [(ReleaseTask(token=1), "released"), (StallTask(token=1), "stalled")]
)
def test_an_attempt_that_leads_back_to_the_queue_has_run_and_waits_anew(
    end: TaskCommand, state: str
) -> None:
    events = one_task((0, submitted()), (1, START), (11, end), (14, START))
    assert list(counted(events).values())[2:] == [
        count(11, state, ran=10),
        count(14, "running", waited=3),
    ]


def test_a_cancelled_attempt_runs_until_it_ends() -> None:
    events = one_task(
        (0, submitted()), (1, START), (11, CancelTask()), (13, ConfirmCancel(token=1))
    )
    assert list(counted(events).values())[2:] == [
        count(11, "cancelling"),
        count(13, "cancelled", ran=12, credits_released=10),
    ]


def test_a_task_cancelled_in_the_queue_has_waited_and_run_nothing() -> None:
    events = one_task((0, submitted()), (5, CancelTask()))
    assert list(counted(events).values())[1] == count(5, "cancelled", waited=5, credits_released=10)


def test_a_task_cancelled_before_it_could_start_has_not_waited() -> None:
    events = one_task((0, submitted(BEGIN + 9 * MINUTE)), (5, CancelTask()))
    assert list(counted(events).values())[1] == count(5, "cancelled", credits_released=10)


def test_reaching_a_stage_is_not_counted() -> None:
    stage = ReachStage(token=1, stage="upload", percent=40)
    plain = one_task((0, submitted()), (1, START), (3, COMPLETE))
    staged = one_task((0, submitted()), (1, START), (2, stage), (3, COMPLETE))
    assert counted(staged) == counted(plain)


def test_time_that_seems_to_run_backwards_counts_as_none() -> None:
    events = one_task((5, submitted()), (4, START), (3, COMPLETE))
    assert [(c.phase, c.bucket, c.elapsed_us) for c in counted(events).values()] == [
        ("", 0, 0),
        ("wait", 0, 0),
        ("run", 0, 0),
    ]


def test_hours_are_those_of_utc() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    assert hour_of(datetime(2026, 3, 1, 3, 10, 5, 9, tzinfo=kathmandu)) == datetime(
        2026, 2, 28, 21, tzinfo=UTC
    )


@given(seed=st.integers(0, 2**32))
def test_the_counts_agree_with_the_tasks_that_the_domain_folds(seed: int) -> None:
    history = History(seed, accounts=2).grow(120)
    counts = counted(history.events).values()
    states: dict[UUID, Task] = {}
    entered: Counter[tuple[datetime, str, str, str]] = Counter()
    for event in history.events:
        if type(event) in ENTERED:
            state = states[event.originator_id] = task.evolve(
                states.get(event.originator_id), event
            )
            failed = state.status in {"failed", "backoff"}
            reason = state.failure.type if failed and state.failure else ""
            entered[hour_of(event.meta.at), state.type, state.status, reason] += 1
    found: Counter[tuple[datetime, str, str, str]] = Counter()
    for c in counts:
        found[c.hour, c.type, STATUS_AFTER.get(c.state, c.state), c.failure_type] += c.entered
    assert found == entered
    tasks = history.tasks.values()
    assert sum(c.credits_charged for c in counts) == sum(t.credits_charged for t in tasks)
    assert sum(c.credits_released for c in counts) == sum(t.credits_released for t in tasks)
