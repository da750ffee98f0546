"""An hour after noon: what is decided on a task then, what it changes, what is too far off."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import asdict

from domain import task
from domain.retry import RetryPolicy
from domain.task import NOT_BEFORE_DAYS_MAX, FailTask, TaskCommand
from domain.task_events import TaskEvent
from tests.unit.domain.given import FLAKY, NOON, fold_task, metadata

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


FAR = timedelta(days=NOT_BEFORE_DAYS_MAX)
INSTANT = timedelta(microseconds=1)


POLICY = RetryPolicy(first_seconds=10, factor=3, seconds_max=60, jitter=0.5)
TRY_AGAIN = FailTask(token=1, failure=FLAKY, policy=POLICY)
