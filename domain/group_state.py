"""The state of a group: its machine, its members, and how each event changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from domain.event import Event
from domain.group_events import (
    GroupCancelled,
    GroupCancelRequested,
    GroupCompleted,
    GroupEnd,
    GroupEvent,
    GroupFailed,
    GroupMemberEnded,
    GroupPartial,
    GroupRetried,
    GroupStarted,
    MemberTask,
)
from domain.lifecycle import Lifecycle

GroupStatus = Literal["processing", "completed", "partial", "failed", "cancelling", "cancelled"]
MemberStatus = Literal["pending", "active", "completed", "failed", "cancelled", "skipped"]

GROUP = Lifecycle(
    "group",
    ["processing", "completed", "partial", "failed", "cancelling", "cancelled"],
    "processing",
    [
        {"trigger": "end_member", "source": "processing", "dest": "processing"},
        {"trigger": "end_member", "source": "cancelling", "dest": "cancelling"},
        {
            "trigger": "end",
            "source": "processing",
            "dest": "completed",
            "conditions": "all_delivered",
        },
        {
            "trigger": "end",
            "source": "processing",
            "dest": "partial",
            "conditions": "some_delivered",
            "unless": "all_delivered",
        },
        {"trigger": "end", "source": "processing", "dest": "failed", "unless": "some_delivered"},
        {"trigger": "end", "source": "cancelling", "dest": "cancelled"},
        {"trigger": "cancel", "source": "processing", "dest": "cancelling"},
        {"trigger": "retry", "source": ["partial", "failed"], "dest": "processing"},
        {"trigger": "start_again", "source": ["failed", "cancelled"], "dest": "processing"},
    ],
)
_NO_INPUT = Raw(b"{}")
ENDED = frozenset(state for state in GROUP.states if GROUP.terminal(state))


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task of the group, as the group knows it: `pending` until submitted, else `active`.

    A pending one that a cancellation has met is `skipped`: it has no task. `run` is the group's run
    in which it last took part, `charged` what it costs once delivered.
    """

    task_id: UUID
    type: str
    input: Raw
    credits: int
    attempts_max: int
    queue_seconds_max: int
    run_seconds_max: int
    status: MemberStatus = "pending"
    run: int = 1
    charged: int = 0
    price_version: str | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of a group. `credits_held` is on hold now; charged and released are over all runs."""

    id: UUID
    version: int
    status: GroupStatus
    account_id: UUID
    kind: str
    priority: int
    parallel_max: int
    hold_id: UUID
    members: tuple[Member, ...]
    created_at: datetime
    started_at: datetime
    updated_at: datetime
    key: str | None = None
    project: str | None = None
    run: int = 1
    credits_held: int = 0
    credits_charged: int = 0
    credits_released: int = 0
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def active(self) -> tuple[Member, ...]:
        """Members whose tasks are submitted and have not ended."""
        return self.those("active")

    @property
    def undelivered(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.status != "completed")

    @property
    def in_run(self) -> tuple[Member, ...]:
        """Members that the present run's hold is for."""
        return tuple(member for member in self.members if member.run == self.run)

    @property
    def slots(self) -> int:
        """Most members of this run that are active at one time."""
        return min(self.parallel_max, len(self.in_run))

    @property
    def delivered_credits(self) -> int:
        """What the members delivered in this run cost."""
        return sum(member.charged for member in self.in_run)

    @property
    def all_delivered(self) -> bool:
        return not self.undelivered

    @property
    def some_delivered(self) -> bool:
        """Over all runs, so that a group that was partial does not fail by a vain retry."""
        return any(member.status == "completed" for member in self.members)

    def without_inputs(self) -> Group:
        """The same with `{}` for each input: they stand in the members' tasks, and may be large."""
        bare = tuple(replace(member, input=_NO_INPUT) for member in self.members)
        return replace(self, members=bare)

    def those(self, status: MemberStatus) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.status == status)

    def member(self, task_id: UUID) -> Member | None:
        return next((member for member in self.members if member.task_id == task_id), None)


def evolve(group: Group | None, event: Event) -> Group:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if isinstance(event, GroupStarted):
        return _started(group, event)
    assert group is not None, "a group's first event is its start"
    fold = _FOLDS.get(type(event))
    if fold is None:
        raise TypeError(f"{type(event).__name__} is not an event of a group")
    return replace(fold(group, event), version=event.originator_version, updated_at=event.meta.at)


def _started(before: Group | None, event: GroupStarted) -> Group:
    at = event.meta.at
    return Group(
        id=event.originator_id,
        version=event.originator_version,
        status="processing",
        account_id=event.account_id,
        kind=event.kind,
        key=event.key,
        project=event.project,
        priority=event.priority,
        parallel_max=event.parallel_max,
        hold_id=event.hold_id,
        run=event.run,
        members=_filled(_members(event), event.parallel_max),
        created_at=at if before is None else before.created_at,
        started_at=at,
        updated_at=at,
        credits_held=event.credits,
        credits_charged=0 if before is None else before.credits_charged,
        credits_released=0 if before is None else before.credits_released,
    )


def _members(event: GroupStarted) -> tuple[Member, ...]:
    names = MemberTask.__struct_fields__
    return tuple(
        Member(**{name: getattr(task, name) for name in names}, run=event.run)
        for task in event.members
    )


def _filled(members: tuple[Member, ...], slots: int) -> tuple[Member, ...]:
    """Members of which the first pending ones are active, as many as there are slots."""
    filled = []
    for member in members:
        if slots > 0 and member.status == "pending":
            slots -= 1
            member = replace(member, status="active")  # noqa: PLW2901 - takes its place
        filled.append(member)
    return tuple(filled)


def _member_ended(group: Group, event: GroupMemberEnded) -> Group:
    changed: dict[UUID | None, dict[str, Any]] = {
        event.next_task_id: {"status": "active"},
        event.task_id: {"status": event.outcome, "charged": event.charged},
    }
    return replace(
        group,
        members=tuple(
            replace(member, **changed[member.task_id]) if member.task_id in changed else member
            for member in group.members
        ),
    )


def _cancel_requested(group: Group, _: GroupCancelRequested) -> Group:
    members = tuple(
        replace(member, status="skipped") if member.status == "pending" else member
        for member in group.members
    )
    return replace(group, status="cancelling", members=members)


def _ended(group: Group, event: GroupEnd) -> Group:
    charged = 0 if isinstance(event, GroupFailed) else event.charged
    return replace(
        group,
        status=_STATUS_OF[type(event)],
        ended_at=event.meta.at,
        credits_held=0,
        credits_charged=group.credits_charged + charged,
        credits_released=group.credits_released + event.released,
    )


def _retried(group: Group, event: GroupRetried) -> Group:
    again = {one.earlier: one for one in event.members}
    members = tuple(
        replace(
            member,
            task_id=again[member.task_id].task_id,
            credits=again[member.task_id].credits,
            price_version=again[member.task_id].price_version,
            status="pending",
            run=event.run,
        )
        if member.task_id in again
        else member
        for member in group.members
    )
    return replace(
        group,
        status="processing",
        run=event.run,
        hold_id=event.hold_id,
        members=_filled(members, group.parallel_max),
        credits_held=event.credits,
        started_at=event.meta.at,
        ended_at=None,
    )


_STATUS_OF: Mapping[type[Event], GroupStatus] = MappingProxyType(
    {
        GroupCompleted: "completed",
        GroupPartial: "partial",
        GroupFailed: "failed",
        GroupCancelled: "cancelled",
    }
)
_FOLDS: Mapping[type[Event], Callable[[Group, Any], Group]] = MappingProxyType(
    {
        GroupMemberEnded: _member_ended,
        GroupCancelRequested: _cancel_requested,
        GroupRetried: _retried,
        **dict.fromkeys(_STATUS_OF, _ended),
    }
)
assert {GroupStarted, *_FOLDS} == set(get_args(GroupEvent)), "each event has its fold"
