"""What was refunded of groups' charges, found in the log by the holds of all their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.group import Group


async def group_refunds(pool: Pool, groups: Sequence[Group]) -> Mapping[UUID, int]:
    """Credits by group; those that were charged nothing are left out. Raises `Unavailable`.

    One query for at most a page of groups. Only the last run's hold stands with a group: those of
    runs before are read from its events.
    """
    charged = [group for group in groups if group.credits_charged]
    if not charged:
        return {}
    parameters = {
        "ids": [group.id for group in charged],
        "holds": [str(group.hold_id) for group in charged],
        "again": [group.id for group in charged if group.run > 1],
    }
    rows = await fetch(pool, statement("select_group_refunds"), parameters, prepare=False)
    return dict(rows)
