"""A group as the API shows it: its progress, its money, and each member as it ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from adapters.queries import TaskView
from domain.group import GROUP, Group, GroupStatus, Member, MemberStatus
from domain.money import Money, money_of_group
from domain.task import TaskStatus
from service.http.task_resource import (
    PRIORITY_NAMES,
    AccountId,
    Credits,
    Failure,
    GroupId,
    Priority,
    TaskId,
    failure_resource,
)
from service.identifiers import public_id

GroupAction = Literal["cancel", "retry"]
ACTIONS: tuple[GroupAction, ...] = ("cancel", "retry")
TASK_ENDED = frozenset({"completed", "failed", "cancelled", "skipped"})
Views = Mapping[UUID, TaskView]


class GroupProgress(msgspec.Struct, frozen=True, kw_only=True):
    """`completed` of `total` members were delivered; `percent` counts how far all have come."""

    percent: int
    completed: int
    total: int


class GroupMember(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the group, in the order of its start; `task_id` is null until it is submitted.

    `pending` waits for a slot, `active` is submitted, and `skipped` was met by a cancellation while
    it was pending. `credits` is its part of the hold, `charged` what it costs once delivered.
    `task_status`, the percent of an active one and the failure are read with the group alone.
    """

    type: str
    status: MemberStatus
    task_id: TaskId | None
    task_status: TaskStatus | None
    percent: int
    credits: int
    charged: int
    run: int
    failure: Failure | None


class GroupResource(msgspec.Struct, frozen=True, kw_only=True):
    """Lists leave out the members; `next` is what may be done from this state.

    Each run has one hold, which is settled once, when the last member has ended; `money` says so.
    """

    id: GroupId
    kind: str
    key: str | None
    status: GroupStatus
    version: int
    account_id: AccountId
    priority: Priority
    project: str | None
    parallel_max: int
    run: int
    progress: GroupProgress
    credits: Credits
    money: Money
    next: tuple[GroupAction, ...]
    created_at: datetime
    updated_at: datetime
    started_at: datetime
    ended_at: datetime | None
    members: list[GroupMember] | UnsetType = UNSET


def group_path(group_id: str) -> str:
    return f"/v1/groups/{group_id}"


def group_resource(
    group: Group,
    *,
    views: Views | None = None,
    members: bool = True,
    operator: bool = False,
    refunded: int = 0,
) -> GroupResource:
    """`views` are the members' tasks as they are now, `refunded` is of all its charges."""
    known = views or {}
    return GroupResource(
        id=public_id("group", group.id),
        kind=group.kind,
        key=group.key,
        status=group.status,
        version=group.version,
        account_id=public_id("acct", group.account_id),
        priority=PRIORITY_NAMES[group.priority],
        project=group.project,
        parallel_max=group.parallel_max,
        run=group.run,
        progress=_progress(group, known),
        credits=Credits(
            held=group.credits_held,
            charged=group.credits_charged,
            released=group.credits_released,
        ),
        money=money_of_group(group, refunded),
        next=tuple(action for action in ACTIONS if action in GROUP.allowed(group.status)),
        created_at=group.created_at,
        updated_at=group.updated_at,
        started_at=group.started_at,
        ended_at=group.ended_at,
        members=[_member(m, known.get(m.task_id), operator=operator) for m in group.members]
        if members
        else UNSET,
    )


def _progress(group: Group, views: Views) -> GroupProgress:
    percents = [_percent(member, views.get(member.task_id)) for member in group.members]
    return GroupProgress(
        percent=sum(percents) // len(percents),
        completed=len(group.those("completed")),
        total=len(group.members),
    )


def _percent(member: Member, view: TaskView | None) -> int:
    """How much of a member's work is over, whatever came of it."""
    if member.status in TASK_ENDED:
        return 100
    return view.percent if view is not None else 0


def _member(member: Member, view: TaskView | None, *, operator: bool) -> GroupMember:
    submitted = member.status not in {"pending", "skipped"}
    return GroupMember(
        type=member.type,
        status=member.status,
        task_id=public_id("task", member.task_id) if submitted else None,
        task_status=None if view is None else view.task.status,
        percent=_percent(member, view),
        credits=member.credits,
        charged=member.charged,
        run=member.run,
        failure=None if view is None else failure_resource(view.task, operator=operator),
    )
