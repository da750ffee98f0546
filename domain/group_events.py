"""The facts of a group's life; their topics, versions and fields are kept for ever."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import Raw

from domain.event import Count, Credits, Event, Name, Text

Outcome = Literal["completed", "failed", "cancelled"]
"""How a member's task ended; only a completed one was delivered."""


class MemberTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a member's task is submitted with; `credits` is its part of the group's hold."""

    task_id: UUID
    type: Name
    input: Raw
    credits: Credits
    attempts_max: Count
    queue_seconds_max: Count
    run_seconds_max: Count
    price_version: Name | None = None


class MemberAgain(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A member that was not delivered as `earlier` and is to run again as `task_id`."""

    earlier: UUID
    task_id: UUID
    credits: Credits
    price_version: Name | None = None


class GroupStarted(Event, frozen=True, kw_only=True):
    """A run began with one hold for all members, of whom the first `parallel_max` were submitted.

    `credits` is the sum of theirs. A later run of the same `key` brings its members anew.
    """

    TOPIC: ClassVar[str] = "group.started"

    account_id: UUID
    kind: Name
    run: Count
    hold_id: UUID
    credits: Credits
    priority: Count
    parallel_max: Count
    members: tuple[MemberTask, ...]
    key: Name | None = None
    project: Name | None = None


class GroupMemberEnded(Event, frozen=True, kw_only=True):
    """A member's task ended by the same commit; `charged` is what the group will charge for it.

    `next_task_id` is the member whose task was submitted in its place.
    """

    TOPIC: ClassVar[str] = "group.member_ended"

    task_id: UUID
    outcome: Outcome
    charged: Credits = 0
    next_task_id: UUID | None = None


class GroupCancelRequested(Event, frozen=True, kw_only=True):
    """No more members start; those that run were asked to stop by the same commit."""

    TOPIC: ClassVar[str] = "group.cancel_requested"

    reason: Text = ""


class GroupCompleted(Event, frozen=True, kw_only=True):
    """Every member was delivered; `charged` was captured and `released` given back."""

    TOPIC: ClassVar[str] = "group.completed"

    charged: Credits = 0
    released: Credits = 0


class GroupPartial(Event, frozen=True, kw_only=True):
    """Some members were delivered: those of this run as `charged`; `released` was given back."""

    TOPIC: ClassVar[str] = "group.partial"

    charged: Credits = 0
    released: Credits = 0


class GroupFailed(Event, frozen=True, kw_only=True):
    """No member was ever delivered; the whole hold was given back."""

    TOPIC: ClassVar[str] = "group.failed"

    released: Credits


class GroupCancelled(Event, frozen=True, kw_only=True):
    """The run ended at its user's wish; what had been delivered until then was charged."""

    TOPIC: ClassVar[str] = "group.cancelled"

    charged: Credits = 0
    released: Credits = 0


class GroupRetried(Event, frozen=True, kw_only=True):
    """Its user opened the next run for the members that were not delivered, with a new hold.

    As many of `members` as may run at one time were submitted by the same commit, the first ones.
    """

    TOPIC: ClassVar[str] = "group.retried"

    run: Count
    hold_id: UUID
    credits: Credits
    members: tuple[MemberAgain, ...]


GroupEvent = (
    GroupStarted
    | GroupMemberEnded
    | GroupCancelRequested
    | GroupCompleted
    | GroupPartial
    | GroupFailed
    | GroupCancelled
    | GroupRetried
)
GroupEnd = GroupCompleted | GroupPartial | GroupFailed | GroupCancelled
