"""What can be asked of a group: by its user, or by the end of one of its members."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec

from domain.group_events import MemberTask, Outcome
from domain.pricing import Terms
from domain.task_commands import PRIORITIES

MEMBERS_MAX = 200
INPUT_BYTES_MAX = 2**20
"""Largest inputs of all members together, as JSON."""
PARALLEL = 3
"""Members that run at one time, unless the group says otherwise."""


class StartGroup(msgspec.Struct, frozen=True, kw_only=True):
    """`members` come in the order in which they start; `key` is what `group_id` derives from."""

    group_id: UUID
    account_id: UUID
    kind: str
    hold_id: UUID
    members: tuple[MemberTask, ...]
    parallel_max: int = PARALLEL
    priority: int = PRIORITIES["normal"]
    key: str | None = None
    project: str | None = None


class EndMember(msgspec.Struct, frozen=True, kw_only=True):
    """Comes with the end of the member's task and no other way."""

    task_id: UUID
    outcome: Outcome
    charged: int = 0


class CancelGroup(msgspec.Struct, frozen=True, kw_only=True):
    reason: str = ""


class RetryGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Opens the next run of a partial or failed group; `hold_id` is the id of a new hold.

    `task_ids` are new ones, at least as many as members were not delivered; `terms` are
    today's, by those members' present tasks.
    """

    hold_id: UUID
    task_ids: tuple[UUID, ...]
    terms: Mapping[UUID, Terms]


GroupCommand = StartGroup | EndMember | CancelGroup | RetryGroup
