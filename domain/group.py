"""A group: tasks of one account that start together, are paid together and end together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, get_args

from domain.errors import AlreadyExists, InvalidInput, NotFound
from domain.event import Metadata
from domain.group_commands import (
    INPUT_BYTES_MAX,
    MEMBERS_MAX,
    PARALLEL,
    CancelGroup,
    EndMember,
    GroupCommand,
    RetryGroup,
    StartGroup,
)
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
    MemberAgain,
    MemberTask,
)
from domain.group_state import GROUP, Group, GroupStatus, Member, MemberStatus, evolve
from domain.task_commands import PRIORITIES

__all__ = [
    "GROUP",
    "INPUT_BYTES_MAX",
    "MEMBERS_MAX",
    "PARALLEL",
    "CancelGroup",
    "EndMember",
    "Group",
    "GroupCommand",
    "GroupStatus",
    "Member",
    "MemberStatus",
    "MemberTask",
    "RetryGroup",
    "StartGroup",
    "decide",
    "evolve",
]


def decide(group: Group | None, command: GroupCommand, meta: Metadata) -> tuple[GroupEvent, ...]:
    """Events that `command` leads to; none when it was carried out before.

    A start is refused as `InvalidInput` (priority, `parallel_max`, members, their inputs); one of a
    group that is processing, completed or partial is quiet, and of one that is cancelling refused
    as `IllegalTransition`. The other commands: `NotFound`, quiet where done before,
    `IllegalTransition`, and last `NotFound` (no such member), `AlreadyExists` (a retry with the
    hold of a run before).
    """
    if isinstance(command, StartGroup):
        return _started(group, command, meta)
    if group is None:
        raise NotFound("There is no such group.")
    if _done_before(group, command):
        return ()
    return _DECIDERS[type(command)](group, command, meta)


def _done_before(group: Group, command: GroupCommand) -> bool:
    match command:
        case EndMember(task_id=task_id, outcome=outcome):
            member = group.member(task_id)
            return member is not None and member.status == outcome
        case CancelGroup():
            return group.status in {"cancelling", "cancelled"}
        case RetryGroup(hold_id=hold_id):
            return group.run > 1 and group.hold_id == hold_id
        case _:
            return False


def _started(group: Group | None, command: StartGroup, meta: Metadata) -> tuple[GroupStarted, ...]:
    _guard_form(command)
    if group is not None:
        if group.status in {"processing", "completed", "partial"}:
            return ()
        GROUP.target("start_again", group.status)
    return (
        GroupStarted(
            originator_id=command.group_id,
            originator_version=1 if group is None else group.version + 1,
            meta=meta,
            account_id=command.account_id,
            kind=command.kind,
            key=command.key,
            project=command.project,
            run=1 if group is None else group.run + 1,
            hold_id=command.hold_id,
            credits=sum(member.credits for member in command.members),
            priority=command.priority,
            parallel_max=command.parallel_max,
            members=command.members,
        ),
    )


def _guard_form(command: StartGroup) -> None:
    if command.priority not in PRIORITIES.values():
        choice = ", ".join(PRIORITIES)
        raise InvalidInput("Unknown priority.", ("/priority", f"must be one of {choice}"))
    if not 1 <= command.parallel_max <= MEMBERS_MAX:
        sentence = f"must be 1 to {MEMBERS_MAX}"
        raise InvalidInput("Too few or too many at one time.", ("/parallel_max", sentence))
    if not 1 <= len(command.members) <= MEMBERS_MAX:
        sentence = f"must be 1 to {MEMBERS_MAX}"
        raise InvalidInput("A group has too few or too many members.", ("/members", sentence))
    if sum(len(bytes(member.input)) for member in command.members) > INPUT_BYTES_MAX:
        sentence = f"must have at most {INPUT_BYTES_MAX} bytes of JSON as inputs, together"
        raise InvalidInput("The inputs are too large together.", ("/members", sentence))


def _member_ended(group: Group, command: EndMember, meta: Metadata) -> tuple[GroupEvent, ...]:
    """The member's end, and the group's own if it was the last one."""
    GROUP.target("end_member", group.status)
    member = group.member(command.task_id)
    if member is None or member.status != "active":
        raise NotFound("The group has no such member at work.")
    pending = group.those("pending")
    ended = GroupMemberEnded(
        originator_id=group.id,
        originator_version=group.version + 1,
        meta=meta,
        task_id=command.task_id,
        outcome=command.outcome,
        charged=command.charged,
        next_task_id=pending[0].task_id if pending else None,
    )
    after = evolve(group, ended)
    return (ended,) if after.active else (ended, _ended(after, meta))


def _ended(group: Group, meta: Metadata) -> GroupEnd:
    """How a run ends that has no member left to wait for."""
    target = GROUP.target("end", group.status, group)
    if target == "failed":
        return GroupFailed(
            originator_id=group.id,
            originator_version=group.version + 1,
            meta=meta,
            released=group.credits_held,
        )
    charged = group.delivered_credits
    return _ENDS[target](
        originator_id=group.id,
        originator_version=group.version + 1,
        meta=meta,
        charged=charged,
        released=group.credits_held - charged,
    )


def _cancel_requested(
    group: Group, command: CancelGroup, meta: Metadata
) -> tuple[GroupCancelRequested, ...]:
    GROUP.target("cancel", group.status)
    return (
        GroupCancelRequested(
            originator_id=group.id,
            originator_version=group.version + 1,
            meta=meta,
            reason=command.reason,
        ),
    )


def _retried(group: Group, command: RetryGroup, meta: Metadata) -> tuple[GroupRetried, ...]:
    GROUP.target("retry", group.status)
    if command.hold_id == group.hold_id:
        raise AlreadyExists("A retry needs a new hold.")
    again = tuple(
        MemberAgain(
            earlier=member.task_id,
            task_id=task_id,
            credits=command.terms[member.task_id].credits,
            price_version=command.terms[member.task_id].price_version,
        )
        for member, task_id in zip(group.undelivered, command.task_ids, strict=False)
    )
    assert len(again) == len(group.undelivered), "there is an id for each member"
    return (
        GroupRetried(
            originator_id=group.id,
            originator_version=group.version + 1,
            meta=meta,
            run=group.run + 1,
            hold_id=command.hold_id,
            credits=sum(member.credits for member in again),
            members=again,
        ),
    )


_ENDS: Mapping[str, Callable[..., GroupEnd]] = MappingProxyType(
    {"completed": GroupCompleted, "partial": GroupPartial, "cancelled": GroupCancelled}
)
_DECIDERS: Mapping[type, Callable[[Group, Any, Metadata], tuple[GroupEvent, ...]]] = (
    MappingProxyType(
        {EndMember: _member_ended, CancelGroup: _cancel_requested, RetryGroup: _retried}
    )
)
assert {StartGroup, *_DECIDERS} == set(get_args(GroupCommand)), "each command has its decider"
