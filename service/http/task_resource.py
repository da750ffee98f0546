"""A task as the API shows it: the whole of it (A8), and to each reader what is theirs to see."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from adapters.decision import States
from adapters.queries import TaskView
from domain import failure as failures
from domain.group import Group
from domain.money import Money, money_of, settled_in
from domain.task import PRIORITIES, TASK, Task, TaskStatus
from service.http.throttle import QueuePlace, Throttle
from service.identifiers import public_id

Priority = Literal["critical", "high", "normal", "low"]
TaskId = Annotated[str, Meta(pattern="^task_[0-9a-f]{32}$")]
GroupId = Annotated[str, Meta(pattern="^group_[0-9a-f]{32}$")]
AccountId = Annotated[str, Meta(pattern="^acct_[0-9a-f]{32}$")]
JsonObject = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
Action = Literal["cancel", "retry", "claim", "stage", "complete", "fail", "release"]
USER_ACTIONS: dict[str, Action] = {"cancel": "cancel", "retry": "retry"}
WORKER_ACTIONS: dict[str, Action] = {
    "start": "claim",
    "reach_stage": "stage",
    "complete": "complete",
    "fail": "fail",
    "release": "release",
}
"""What the API calls the machine's triggers that a worker pulls."""
PRIORITY_NAMES: dict[int, Priority] = {v: k for k, v in PRIORITIES.items()}  # type: ignore[misc]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """`stage` and its percent are facts; what is finer comes from heartbeats (no new version)."""

    percent: int
    stage: str | None
    message: str | None = None
    completed: int | None = None
    total: int | None = None


class Credits(msgspec.Struct, frozen=True, kw_only=True):
    """On hold now; charged and released (given back) over all runs."""

    held: int
    charged: int
    released: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """`detail`, the cause, is for operators only."""

    type: failures.FailureType
    message: str
    stage: str | None
    retryable: bool
    detail: str | UnsetType = UNSET


class TaskResource(msgspec.Struct, frozen=True, kw_only=True):
    """Lists leave out `input` and `result`; `worker` and `lease_until` are for operators.

    In `backoff`, `failure` is that of the last attempt, and the next may start at `not_before`.
    Past `deadline_at` the run fails as `timeout`. `money` says what it costs so far: a group's
    member has been charged, or given back, once its group has ended. A
    `trial` costs nothing, and is given back where nothing was delivered. `next` is what
    may be done from this state: operators see workers' verbs too. `reused_from` is the task whose
    result was taken over, which may be another account's.
    """

    id: TaskId
    type: str
    status: TaskStatus
    version: int
    account_id: AccountId
    priority: Priority
    project: str | None
    group_id: GroupId | None
    run: int
    attempt: int
    attempts_max: int
    progress: Progress
    credits: Credits
    money: Money
    trial: bool
    next: tuple[Action, ...]
    failure: Failure | None
    created_at: datetime
    updated_at: datetime
    queued_at: datetime
    not_before: datetime | None
    deadline_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    throttled: tuple[Throttle, ...] | UnsetType = UNSET
    queue: QueuePlace | UnsetType | None = UNSET
    input: JsonObject | UnsetType = UNSET
    result: JsonObject | UnsetType | None = UNSET
    reused_from: TaskId | None = None
    worker: str | UnsetType | None = UNSET
    lease_until: datetime | UnsetType | None = UNSET


def task_path(task_id: str) -> str:
    return f"/v1/tasks/{task_id}"


def task_resource(
    task: Task,
    *,
    operator: bool = False,
    view: TaskView | None = None,
    documents: bool = True,
    group: Group | None = None,
    queue: QueuePlace | UnsetType | None = UNSET,
) -> TaskResource:
    """`view` adds the light columns, `documents` the input and the result.

    Without a `view`, `group` is the one of a member; where it is unknown, its hold stands.
    """
    settled = settled_in(task, group) if view is None else view.settled
    return TaskResource(
        id=public_id("task", task.id),
        type=task.type,
        status=task.status,
        version=task.version,
        account_id=public_id("acct", task.account_id),
        priority=PRIORITY_NAMES[task.priority],
        project=task.project,
        group_id=public_id("group", task.group_id) if task.group_id else None,
        run=task.run,
        attempt=task.attempt,
        attempts_max=task.attempts_max,
        progress=_progress(task, view),
        credits=Credits(
            held=task.credits_held, charged=task.credits_charged, released=task.credits_released
        ),
        money=money_of(task, 0 if view is None else view.refunded, settled=settled),
        trial=task.trial,
        next=actions_of(task, operator=operator),
        failure=failure_resource(task, operator=operator),
        created_at=task.created_at,
        updated_at=task.updated_at,
        queued_at=task.queued_at,
        not_before=task.not_before,
        deadline_at=task.deadline_at,
        started_at=task.started_at,
        ended_at=task.ended_at,
        queue=queue,
        input=task.input if documents else UNSET,
        result=task.result if documents else UNSET,
        reused_from=None if task.reused_from is None else public_id("task", task.reused_from),
        worker=task.worker if operator else UNSET,
        lease_until=view.lease_until if operator and view is not None else UNSET,
    )


def actions_of(task: Task, *, operator: bool) -> tuple[Action, ...]:
    """What the machine allows from the task's state, by the names of the API's verbs.

    A group's member is retried with its group alone.
    """
    return _actions(task.status, member=task.group_id is not None, operator=operator)


@cache
def _actions(status: str, *, member: bool, operator: bool) -> tuple[Action, ...]:
    named = USER_ACTIONS | WORKER_ACTIONS if operator else USER_ACTIONS
    return tuple(
        named[trigger]
        for trigger in TASK.allowed(status)
        if trigger in named and not (member and trigger == "retry")
    )


def group_in(states: States, task: Task) -> Group | None:
    """A member's group, where the command has loaded it."""
    return None if task.group_id is None else states.get(task.group_id)


def _progress(task: Task, view: TaskView | None) -> Progress:
    if view is None:
        return Progress(percent=task.percent, stage=task.stage)
    return Progress(
        percent=view.percent,
        stage=task.stage,
        message=view.message,
        completed=view.progress_completed,
        total=view.progress_total,
    )


def failure_resource(task: Task, *, operator: bool) -> Failure | None:
    failure = task.failure
    if failure is None:
        return None
    return Failure(
        type=failure.type,
        message=failure.message,
        stage=failure.stage,
        retryable=failure.retryable,
        detail=failure.detail if operator else UNSET,
    )
