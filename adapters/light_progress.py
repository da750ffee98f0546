"""Progress between stages, which is in the light columns of the tasks table and not in the log."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import msgspec

from adapters.pool import Pool, fetch
from adapters.sql import statement


class LightProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a running task has come; `version` is that of its last fact."""

    task_id: UUID
    version: int
    percent: int
    message: str | None
    completed: int | None
    total: int | None
    stage: str | None


async def progress_of(pool: Pool, task_ids: Collection[UUID]) -> list[LightProgress]:
    """Of those tasks that run, in one query. Raises `Unavailable`."""
    rows = await fetch(pool, statement("select_progress"), {"ids": list(task_ids)})
    return [_progress(row) for row in rows]


async def progress_of_account(pool: Pool, account_id: UUID, limit: int) -> list[LightProgress]:
    """Of at most `limit` tasks of the account that run. Raises `Unavailable`."""
    parameters = {"account_id": account_id, "limit": limit}
    rows = await fetch(pool, statement("select_running_tasks"), parameters)
    return [_progress(row) for row in rows]


def _progress(row: tuple[object, ...]) -> LightProgress:
    return LightProgress(**dict(zip(LightProgress.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]
