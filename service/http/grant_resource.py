"""A grant and an open hold as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.ledger_events import Grant, GrantKind, Hold
from service.http.task_resource import GroupId, TaskId
from service.identifiers import public_id

GrantId = Annotated[str, Meta(pattern="^grant_[0-9a-f]{32}$")]
HoldId = Annotated[str, Meta(pattern="^hold_[0-9a-f]{32}$")]


class GrantResource(msgspec.Struct, frozen=True, kw_only=True):
    """Credits that came in: `remaining` can be held, `held` is inside open holds.

    While it is `pending`, from `effective_at` on, nothing of it can be held. Of a `voided` one, or
    one that another grant followed, only what is held is left, and goes when it comes back.
    """

    id: GrantId
    kind: GrantKind
    priority: int
    remaining: int
    held: int
    effective_at: datetime | None
    expires_at: datetime | None
    pending: bool
    voided: bool


class HoldResource(msgspec.Struct, frozen=True, kw_only=True):
    """Credits set aside, for a task, a group or something outside; a free `trial` holds none."""

    id: HoldId
    amount: int
    task_id: TaskId | None
    group_id: GroupId | None
    trial: bool
    held_at: datetime
    expires_at: datetime | None


def grant_resource(grant: Grant) -> GrantResource:
    return GrantResource(
        id=public_id("grant", grant.id),
        kind=grant.kind,
        priority=grant.priority,
        remaining=grant.remaining,
        held=grant.held,
        effective_at=grant.effective_at,
        expires_at=grant.expires_at,
        pending=grant.pending,
        voided=grant.voided,
    )


def hold_resource(hold: Hold) -> HoldResource:
    return HoldResource(
        id=public_id("hold", hold.id),
        amount=hold.amount,
        task_id=public_id("task", hold.task_id) if hold.task_id else None,
        group_id=public_id("group", hold.group_id) if hold.group_id else None,
        trial=hold.trial,
        held_at=hold.held_at,
        expires_at=hold.expires_at,
    )
