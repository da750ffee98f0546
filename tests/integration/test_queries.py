"""Queries give typed pages in a stable order, by every filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from msgspec import Raw

from adapters import queries as queries_module
from adapters.pool import Pool, open_pool
from adapters.queries import (
    Queries,
    StatementFilter,
    StatementLine,
    TaskFilter,
    TaskView,
)
from domain.errors import InvalidInput, Unavailable
from domain.task import Task
from projections.fold import Fold
from projections.histogram import Histogram
from projections.statement import STATEMENT
from projections.statistics import STATISTICS, Count, StateCount
from tests.histories import BEGIN, History
from tests.integration.read_models import commit, drain


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, 2) as opened:
        yield opened


@pytest.fixture
def queries(pool: Pool) -> Queries:
    return Queries(pool)


@pytest.fixture
async def history(database: str) -> History:
    made = History(31, accounts=3).grow(400)
    await commit(database, made.events)
    await drain(database)
    return made


def light(task: Task) -> Task:
    """A task as lists show it."""
    return msgspec.structs.replace(task, input=Raw(b"{}"), result=None)


async def pages(
    page: Callable[[Any], Awaitable[list[Any]]], key: Callable[[Any], Any]
) -> list[Any]:
    """All items, page by page."""
    items: list[Any] = []
    while found := await page(key(items[-1]) if items else None):
        items += found
    return items


def task_id(view: TaskView) -> UUID:
    return view.task.id


async def test_a_task_comes_whole(queries: Queries, history: History) -> None:
    for task in history.tasks.values():
        view = await queries.task(task.id)
        assert view is not None
        assert view.task == task
        assert view.percent == task.percent
        assert (view.lease_until is not None) == (task.status in {"running", "cancelling"})


async def test_a_task_comes_with_its_lease_and_fine_progress(
    queries: Queries, history: History, database: str
) -> None:
    task = next(t for t in history.tasks.values() if t.status == "running")
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE tasks SET lease_until = %s, percent = 77, message = 'shot 3 of 4',"
            " progress_completed = 3, progress_total = 4 WHERE id = %s",
            (BEGIN, task.id),
        )
    expected = TaskView(
        task=task,
        lease_until=BEGIN,
        percent=77,
        message="shot 3 of 4",
        progress_completed=3,
        progress_total=4,
    )
    assert await queries.task(task.id) == expected
    [listed] = [v for v in await queries.tasks(TaskFilter()) if v.task.id == task.id]
    assert listed == msgspec.structs.replace(expected, task=light(task))


async def test_what_is_not_there_is_none_or_empty(queries: Queries) -> None:
    assert await queries.task(uuid4()) is None
    assert await queries.account(uuid4()) is None
    assert await queries.statement(StatementFilter(account_id=uuid4())) == []
    assert await queries.accounts() == []
    assert await queries.tasks(TaskFilter()) == []
    assert await queries.statistics(BEGIN, BEGIN + timedelta(days=9)) == []


FILTERS: list[tuple[Callable[[History], TaskFilter], Callable[[Task, History], bool]]] = [
    (lambda _: TaskFilter(), lambda _, __: True),
    (
        lambda h: TaskFilter(account_id=h.accounts[1]),
        lambda t, h: t.account_id == h.accounts[1],
    ),
    (
        lambda _: TaskFilter(statuses=("failed", "cancelled")),
        lambda t, _: t.status in {"failed", "cancelled"},
    ),
    (
        lambda _: TaskFilter(types=("image_generation",)),
        lambda t, _: t.type == "image_generation",
    ),
    (lambda _: TaskFilter(project="alpha"), lambda t, _: t.project == "alpha"),
    (
        lambda h: TaskFilter(created_from=middle(h), created_before=middle(h, 3)),
        lambda t, h: middle(h) <= t.created_at < middle(h, 3),
    ),
    (
        lambda h: TaskFilter(
            account_id=h.accounts[0],
            statuses=("completed", "failed"),
            types=("image_generation", "media_extraction"),
            created_from=middle(h, 1),
        ),
        lambda t, h: (
            t.account_id == h.accounts[0]
            and t.status in {"completed", "failed"}
            and t.type != "generate_thumbnail"
            and t.created_at >= middle(h, 1)
        ),
    ),
]


def middle(history: History, quarter: int = 2) -> datetime:
    """Creation time of the task at that quarter of the history, so that bounds are met exactly."""
    created = sorted(task.created_at for task in history.tasks.values())
    return created[len(created) * quarter // 4]


@pytest.mark.parametrize(("wanted", "holds"), FILTERS)
@pytest.mark.parametrize("limit", [3, 200])
async def test_tasks_are_listed_by_every_filter_page_by_page(
    queries: Queries,
    history: History,
    wanted: Callable[[History], TaskFilter],
    holds: Callable[[Task, History], bool],
    limit: int,
) -> None:
    found = await pages(
        lambda before: queries.tasks(wanted(history), before=before, limit=limit), task_id
    )
    expected = [light(task) for task in history.tasks.values() if holds(task, history)]
    assert expected
    assert [v.task for v in found] == sorted(expected, key=lambda t: t.id, reverse=True)


async def test_accounts_are_read_and_listed_page_by_page(
    queries: Queries, history: History
) -> None:
    balances = [ledger.balance for ledger in history.ledgers.values()]
    assert [await queries.account(b.id) for b in balances] == balances
    found = await pages(lambda after: queries.accounts(after=after, limit=2), lambda b: b.id)
    assert found == sorted(balances, key=lambda b: b.id)


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("limit", [4, 200])
async def test_a_statement_comes_page_by_page_and_links_each_line_to_its_event(
    queries: Queries,
    history: History,
    oldest_first: bool,  # noqa: FBT001
    limit: int,
) -> None:
    account = history.accounts[0]
    wanted = StatementFilter(account_id=account, oldest_first=oldest_first)
    found: list[StatementLine] = await pages(
        lambda past: queries.statement(wanted, past=past, limit=limit),
        lambda line: line.line.version,
    )
    events = {n: e for n, e in enumerate(history.events, start=1) if e.originator_id == account}
    assert {line.position: line.line.version for line in found} == {
        n: e.originator_version for n, e in events.items() if STATEMENT.key(e) is not None
    }
    versions = [line.line.version for line in found]
    assert versions == sorted(versions, reverse=not oldest_first)
    newest = max(found, key=lambda line: line.position).line
    balance = history.ledgers[account].balance
    assert (newest.version, newest.available, newest.held) == (
        balance.version,
        balance.available,
        balance.held,
    )


async def test_a_statement_can_be_bounded_in_time(queries: Queries, history: History) -> None:
    account = history.accounts[0]
    every = await queries.statement(StatementFilter(account_id=account))
    since, until = every[20].line.at, every[5].line.at
    found = await queries.statement(StatementFilter(account_id=account, since=since, until=until))
    assert found == [line for line in every if since <= line.line.at < until]
    assert 0 < len(found) < len(every)


async def test_statistics_are_counted_by_hour_day_and_in_total(
    queries: Queries, history: History
) -> None:
    counts = counted(history)
    since, until = BEGIN - timedelta(days=1), BEGIN + timedelta(days=30)
    assert await queries.statistics(since, until) == summed(counts, lambda c: c.hour)
    days = await queries.statistics(since, until, bucket="day")
    assert days == summed(counts, lambda c: c.hour.replace(hour=0))
    assert len({count.hour for count in days}) > 1
    total = await queries.statistics(since, until, bucket="total")
    assert total == summed(counts, lambda _: since)
    assert max(count.wait.count for count in total) > 1
    assert max(len(count.run.counts) for count in total) > 1


async def test_statistics_can_be_bounded_and_filtered(queries: Queries, history: History) -> None:
    counts = counted(history)
    hours = sorted({count.hour for count in counts})
    since, until = hours[1], hours[-1]
    assert await queries.statistics(
        since, until, types=["image_generation", "generate_thumbnail"]
    ) == summed(
        [c for c in counts if since <= c.hour < until and c.type != "media_extraction"],
        lambda c: c.hour,
    )


def counted(history: History) -> list[Count]:
    fold = Fold(STATISTICS)
    for position, event in enumerate(history.events, start=1):
        fold.take(position, event)
    return list(fold.tallied.values())


def summed(counts: Iterable[Count], bucket: Callable[[Count], datetime]) -> list[StateCount]:
    """The same sums, count by count."""
    groups: dict[tuple[datetime, str, str, str], list[Count]] = {}
    for count in counts:
        key = (bucket(count), count.type, count.state, count.failure_type)
        groups.setdefault(key, []).append(count)
    return [
        StateCount(
            hour=key[0],
            type=key[1],
            state=key[2],
            failure_type=key[3],
            entered=sum(c.entered for c in groups[key]),
            credits_charged=sum(c.credits_charged for c in groups[key]),
            credits_released=sum(c.credits_released for c in groups[key]),
            wait=times(groups[key], "wait"),
            run=times(groups[key], "run"),
        )
        for key in sorted(groups)
    ]


def times(counts: Iterable[Count], phase: str) -> Histogram:
    buckets: Counter[int] = Counter()
    total_us = 0
    for count in counts:
        if count.phase == phase:
            buckets[count.bucket] += count.entered
            total_us += count.elapsed_us
    return Histogram(dict(buckets), total_us)


async def test_too_many_statistics_are_refused(
    queries: Queries, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries_module, "STATISTICS_ROWS_MAX", 3)
    with pytest.raises(InvalidInput, match="Too many rows"):
        await queries.statistics(BEGIN - timedelta(days=1), BEGIN + timedelta(days=30))


async def test_a_database_that_went_away_is_unavailable(queries: Queries, pool: Pool) -> None:
    await pool.close()
    with pytest.raises(Unavailable):
        await queries.account(uuid4())
