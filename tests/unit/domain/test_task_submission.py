"""What a submission of a task records, its defaults, and its bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import task
from domain.errors import InvalidInput
from domain.task import SubmitTask
from domain.task_events import TaskSubmitted
from tests.unit.domain.given import (
    ACCOUNT_ID,
    HOLD_ID,
    PRICE,
    TASK_ID,
    fold_task,
    metadata,
    submission,
    task_in,
)
from tests.unit.domain.task_changes import FAR, INSTANT, LATER, META, decide_one


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
