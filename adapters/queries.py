"""What read models are asked: tasks, accounts, statements and statistics, in bounded pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Raw

from adapters.batch import task_of
from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain.balance import Balance
from domain.errors import InvalidInput
from domain.task import Task, TaskStatus
from projections.histogram import Histogram
from projections.statement import Line
from projections.statistics import StateCount

PAGE_ROWS_MAX = 200
STATISTICS_ROWS_MAX = 10_000
Bucket = Literal["hour", "day", "total"]
_LAST = UUID(int=2**128 - 1)
_NO_DOCUMENT = Raw(b"{}")


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task with its light columns: the lease, and progress finer than its stages.

    `percent` is the finer one while a worker has the task, and `message` and the counts stand
    only then. In lists `task.input` is `{}` and `task.result` None: both may be
    large. `refunded` is what was given back of the charge; a group's is not told of its members.
    `settled` is False for a member that has ended while its group's hold stands.
    """

    task: Task
    lease_until: datetime | None
    percent: int
    message: str | None
    progress_completed: int | None
    progress_total: int | None
    refunded: int = 0
    settled: bool = True


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Each condition that is given must hold; `created_before` itself is left out."""

    account_id: UUID | None = None
    statuses: tuple[TaskStatus, ...] = ()
    types: tuple[str, ...] = ()
    project: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line, and the position in the log of its event."""

    position: int
    line: Line


class StatementFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Lines with `since <= at < until`, newest first unless `oldest_first`."""

    account_id: UUID
    since: datetime | None = None
    until: datetime | None = None
    oldest_first: bool = False


class Queries:
    """Each method is one query; raises `Unavailable`. Limits are cut to `PAGE_ROWS_MAX`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def task(self, task_id: UUID) -> TaskView | None:
        """The whole task, its documents included."""
        rows = await fetch(self._pool, statement("select_task"), {"task_id": task_id})
        return _task_view(rows[0]) if rows else None

    async def tasks(
        self, wanted: TaskFilter, *, before: UUID | None = None, limit: int = PAGE_ROWS_MAX
    ) -> list[TaskView]:
        """Highest ids (newest) first, from below the id `before`."""
        parameters = {
            "account_id": wanted.account_id,
            "statuses": list(wanted.statuses) or None,
            "types": list(wanted.types) or None,
            "project": wanted.project,
            "created_from": wanted.created_from,
            "created_before": wanted.created_before,
            "before": before or _LAST,
            "limit": min(limit, PAGE_ROWS_MAX),
        }
        name = "select_tasks" if wanted.account_id is None else "select_account_tasks"
        rows = await fetch(self._pool, statement(name), parameters, prepare=False)
        return [_task_view(row) for row in rows]

    async def tasks_by_id(self, task_ids: Sequence[UUID]) -> list[TaskView]:
        """Those of these tasks that exist, in any order, without their documents."""
        rows = await fetch(self._pool, statement("select_tasks_by_id"), {"ids": list(task_ids)})
        return [_task_view(row) for row in rows]

    async def account(self, account_id: UUID) -> Balance | None:
        rows = await fetch(self._pool, statement("select_account"), {"account_id": account_id})
        return balance_of(rows[0]) if rows else None

    async def due(self, account_ids: Sequence[UUID]) -> list[UUID]:
        """Those of these accounts that time has changed, by the database's clock."""
        rows = await fetch(self._pool, statement("select_due"), {"ids": list(account_ids)})
        return [row[0] for row in rows]

    async def accounts(
        self, *, after: UUID | None = None, limit: int = PAGE_ROWS_MAX
    ) -> list[Balance]:
        """Lowest ids (oldest) first, from above the id `after`."""
        parameters = {"after": after or UUID(int=0), "limit": min(limit, PAGE_ROWS_MAX)}
        rows = await fetch(self._pool, statement("select_accounts"), parameters)
        return [balance_of(row) for row in rows]

    async def statement(
        self, wanted: StatementFilter, *, past: int | None = None, limit: int = PAGE_ROWS_MAX
    ) -> list[StatementLine]:
        """Lines of one account in the order of versions, from beyond the version `past`."""
        name = "select_statement_oldest" if wanted.oldest_first else "select_statement_newest"
        parameters = {
            "account_id": wanted.account_id,
            "since": wanted.since,
            "until": wanted.until,
            "past": past,
            "limit": min(limit, PAGE_ROWS_MAX),
        }
        rows = await fetch(self._pool, statement(name), parameters, prepare=False)
        fields = Line.__struct_fields__
        return [
            StatementLine(position=position, line=Line(**dict(zip(fields, values, strict=True))))
            for position, *values in rows
        ]

    async def statistics(
        self,
        since: datetime,
        until: datetime,
        *,
        bucket: Bucket = "hour",
        types: Sequence[str] = (),
    ) -> list[StateCount]:
        """Counts of the hours with `since <= hour < until`, by hour, by day (UTC) or in total.

        `hour` is the begin of the bucket, that of the total being `since`. Raises `InvalidInput`
        for more than `STATISTICS_ROWS_MAX` rows.
        """
        parameters = {
            "since": since,
            "until": until,
            "bucket": bucket,
            "types": list(types) or None,
            "limit": STATISTICS_ROWS_MAX + 1,
        }
        rows = await fetch(self._pool, statement("select_statistics"), parameters, prepare=False)
        if len(rows) > STATISTICS_ROWS_MAX:
            hint = f"more than {STATISTICS_ROWS_MAX} rows: narrow the range or widen the bucket"
            raise InvalidInput("Too many rows.", ("/until", hint))
        return [_state_count(*row) for row in rows]


def balance_of(values: Sequence[Any]) -> Balance:
    """An account's row, its columns in the order of the struct."""
    return Balance(**dict(zip(Balance.__struct_fields__, values, strict=True)))


def _state_count(  # noqa: PLR0913, PLR0917 - one for each column
    hour: datetime,
    type_: str,
    state: str,
    failure_type: str,
    entered: int,
    charged: int,
    released: int,
    wait_buckets: list[int],
    waits: list[int],
    waited_us: int,
    run_buckets: list[int],
    runs: list[int],
    ran_us: int,
) -> StateCount:
    return StateCount(
        hour=hour,
        type=type_,
        state=state,
        failure_type=failure_type,
        entered=entered,
        credits_charged=charged,
        credits_released=released,
        wait=Histogram(dict(zip(wait_buckets, waits, strict=True)), waited_us),
        run=Histogram(dict(zip(run_buckets, runs, strict=True)), ran_us),
    )


def _task_view(row: Sequence[Any]) -> TaskView:
    data, task_input, result, lease_until, percent, *light, refunded, settled = row
    document = _NO_DOCUMENT if task_input is None else Raw(task_input.encode())
    task = task_of(data, document, None if result is None else Raw(result.encode()))
    # What the last worker said stays in the row, beside a percent that is of the last fact again.
    message, completed, total = light if task.leased else (None, None, None)
    return TaskView(
        task=task,
        lease_until=lease_until,
        percent=percent,
        message=message,
        progress_completed=completed,
        progress_total=total,
        refunded=refunded,
        settled=settled,
    )
