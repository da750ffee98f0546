"""An account's failed tasks, the first to fail first, for its user to retry in bulk."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.failure import FailureType

SCAN_TASKS_MAX = 10_000
"""So many failed tasks are looked at for those that fit; `failed_after` leads beyond them."""


class FailedFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Each condition that is given must hold; the times themselves are left out."""

    types: tuple[str, ...] = ()
    project: str | None = None
    failure_types: tuple[FailureType, ...] = ()
    failed_after: datetime | None = None
    failed_before: datetime | None = None


class FailedTasks(msgspec.Struct, frozen=True, kw_only=True):
    """Ids in the order in which the tasks failed; `more`: there may be others that fit."""

    ids: tuple[UUID, ...]
    more: bool


async def failed_tasks(
    pool: Pool,
    account_id: UUID,
    wanted: FailedFilter,
    limit: int,
    scan_max: int = SCAN_TASKS_MAX,
) -> FailedTasks:
    """The first `limit` that fit, members of groups left out. Raises `Unavailable`."""
    parameters = {
        "account_id": account_id,
        "types": list(wanted.types) or None,
        "project": wanted.project,
        "failure_types": list(wanted.failure_types) or None,
        "failed_after": wanted.failed_after,
        "failed_before": wanted.failed_before,
        "limit": limit,
        "scan_max": scan_max,
    }
    query = statement("select_failed_tasks")
    [(ids, more)] = await fetch(pool, query, parameters, prepare=False)
    return FailedTasks(ids=tuple(ids), more=more)
