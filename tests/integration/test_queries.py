"""Queries give typed pages in a stable order, and find them by an index in large tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from msgspec import Raw
from psycopg.abc import QueryNoTemplate

from adapters import queries as queries_module
from adapters.pool import Pool, fetch, open_pool
from adapters.queries import (
    PAGE_ROWS_MAX,
    Queries,
    StatementFilter,
    StatementLine,
    TaskFilter,
    TaskView,
)
from domain.errors import InvalidInput, Unavailable
from domain.task import Task
from projections import statistics
from projections.fold import Fold
from projections.statistics import STATISTICS, Count
from tests.histories import BEGIN, History
from tests.integration.read_models import commit, drain

ROWS = 100_000
BUSY = UUID(int=1)


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
        n: e.originator_version for n, e in events.items() if e.TOPIC != "account.opened"
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
    assert await queries.statistics(since, until) == counts
    days = await queries.statistics(since, until, bucket="day")
    assert days == summed(counts, lambda c: c.hour.replace(hour=0))
    assert len({count.hour for count in days}) > 1
    assert await queries.statistics(since, until, bucket="total") == summed(counts, lambda _: since)


async def test_statistics_can_be_bounded_and_filtered(queries: Queries, history: History) -> None:
    counts = counted(history)
    hours = sorted({count.hour for count in counts})
    since, until = hours[1], hours[-1]
    assert await queries.statistics(
        since, until, types=["image_generation", "generate_thumbnail"], states=["failed", "queued"]
    ) == [
        c
        for c in counts
        if since <= c.hour < until
        and c.type != "media_extraction"
        and c.state in {"failed", "queued"}
    ]


def counted(history: History) -> list[Count]:
    fold = Fold(STATISTICS)
    for position, event in enumerate(history.events, start=1):
        fold.take(position, event)
    return sorted(fold.tallied.values(), key=statistics.key)


def summed(counts: list[Count], bucket: Callable[[Count], datetime]) -> list[Count]:
    sums: dict[statistics.CountKey, Count] = {}
    for count in counts:
        moved = msgspec.structs.replace(count, hour=bucket(count))
        key = statistics.key(moved)
        sums[key] = statistics.add(sums[key], moved) if key in sums else moved
    return [sums[key] for key in sorted(sums)]


async def test_too_many_statistics_are_refused(
    queries: Queries, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries_module, "STATISTICS_ROWS_MAX", 3)
    with pytest.raises(InvalidInput, match="Too many rows"):
        await queries.statistics(BEGIN - timedelta(days=1), BEGIN + timedelta(days=30))


async def test_no_page_is_longer_than_the_limit(queries: Queries, database: str) -> None:
    fill(database, rows=20 * PAGE_ROWS_MAX)
    assert len(await queries.tasks(TaskFilter(), limit=9_999)) == PAGE_ROWS_MAX
    lines = await queries.statement(StatementFilter(account_id=BUSY), limit=9_999)
    assert len(lines) == PAGE_ROWS_MAX


async def test_a_database_that_went_away_is_unavailable(queries: Queries, pool: Pool) -> None:
    await pool.close()
    with pytest.raises(Unavailable):
        await queries.account(BUSY)


# How the rows are found, in tables of 100,000 rows.


def fill(dsn: str, rows: int = ROWS) -> None:
    """`rows` of each; the oldest tenth of the tasks and nine tenths of the lines are BUSY's."""
    owner = "lpad(CASE WHEN n <= %(rows)s / 10 THEN 1 ELSE n END::text, 32, '0')::uuid"
    account = "lpad(CASE WHEN n %% 10 = 0 THEN n ELSE 1 END::text, 32, '0')::uuid"
    data = (
        """'{"id":"00000000-0000-0000-0000-000000000001","version":1,"status":"queued",'"""
        """'"account_id":"00000000-0000-0000-0000-000000000001","type":"a","input":{},'"""
        """'"priority":2,"stalls_max":3,"hold_id":"00000000-0000-0000-0000-000000000001",'"""
        """'"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",'"""
        """'"queued_at":"2026-01-01T00:00:00Z"}'"""
    ).replace("''", "")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tasks (id, version, account_id, type, status, priority, queued_at, token,"  # noqa: S608
            f" created_at, data, input) SELECT lpad(n::text, 32, '0')::uuid, 1, {owner},"
            " CASE WHEN n %% 7 = 0 THEN 'a' ELSE 'b' END,"
            " CASE WHEN n %% 1000 = 0 THEN 'failed' ELSE 'completed' END, 2, %(begin)s, 1,"
            f" %(begin)s::timestamptz + n * interval '1 s', {data}::json, '{{}}'"
            " FROM generate_series(1, %(rows)s) AS n",
            {"begin": BEGIN, "rows": rows},
        )
        connection.execute(
            "INSERT INTO statement_lines (account_id, version, position, at, kind, amount,"  # noqa: S608
            " available_change, held_change, available, held, actor, correlation_id, reason)"
            f" SELECT {account}, n, n, %(begin)s::timestamptz + n * interval '1 s', 'granted', 1,"
            " 1, 0, 1, 0, 'a', gen_random_uuid(), '' FROM generate_series(1, %(rows)s) AS n",
            {"begin": BEGIN, "rows": rows},
        )
        connection.execute(
            "INSERT INTO statistics_counts SELECT date_trunc('hour', %(begin)s::timestamptz)"
            " + n / 10 * interval '1 h', 't' || n %% 10, 'queued', '', 1, 0, 0, 0, 0, 0"
            " FROM generate_series(1, %(rows)s) AS n",
            {"begin": BEGIN, "rows": rows},
        )
        connection.execute(
            "INSERT INTO accounts SELECT lpad(n::text, 32, '0')::uuid, 1, 'standard', 'open', NULL,"
            " 0, 0, 0, 0, 0, %(begin)s, %(begin)s FROM generate_series(1, %(rows)s) AS n",
            {"begin": BEGIN, "rows": rows},
        )
        connection.execute("VACUUM ANALYZE tasks, statement_lines, statistics_counts, accounts")


async def plans_of(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Queries], Awaitable[object]]
) -> list[dict[str, Any]]:
    """Nodes of the plan of the query that is really sent, with its values, run and measured."""
    seen: list[dict[str, Any]] = []
    send = fetch

    async def explain(
        pool: Pool, query: QueryNoTemplate, parameters: Mapping[str, object], **options: bool
    ) -> list[tuple[Any, ...]]:
        assert isinstance(query, str)
        explained = "EXPLAIN (ANALYZE, FORMAT JSON) " + query
        [(plan,)] = await send(pool, explained, parameters, **options)
        seen.append(plan[0]["Plan"])
        return await send(pool, query, parameters, **options)

    monkeypatch.setattr(queries_module, "fetch", explain)
    await ask(Queries(pool))
    nodes: list[dict[str, Any]] = []
    while seen:
        node = seen.pop()
        nodes.append(node)
        seen += node.get("Plans", [])
    return nodes


MIDDLE = UUID("00000000000000000000000000050000")
MINE = TaskFilter(account_id=BUSY)
NEWEST = StatementFilter(account_id=BUSY)
OLDEST = StatementFilter(account_id=BUSY, oldest_first=True)
QUESTIONS: list[tuple[str, Callable[[Queries], Awaitable[object]]]] = [
    ("tasks_pkey", lambda q: q.tasks(TaskFilter())),
    ("tasks_pkey", lambda q: q.tasks(TaskFilter(), before=MIDDLE)),
    ("tasks_account_idx", lambda q: q.tasks(MINE)),
    ("tasks_account_idx", lambda q: q.tasks(MINE, before=UUID(int=0x5000))),
    (
        "tasks_account_idx",
        lambda q: q.tasks(TaskFilter(account_id=BUSY, statuses=("completed",), types=("a", "c"))),
    ),
    ("statement_lines_pkey", lambda q: q.statement(NEWEST)),
    ("statement_lines_pkey", lambda q: q.statement(NEWEST, past=50_000)),
    ("statement_lines_pkey", lambda q: q.statement(OLDEST)),
    ("statement_lines_pkey", lambda q: q.statement(OLDEST, past=50_000)),
    ("tasks_pkey", lambda q: q.task(MIDDLE)),
    ("accounts_pkey", lambda q: q.accounts(after=BUSY)),
    ("accounts_pkey", lambda q: q.account(BUSY)),
]


@pytest.mark.postgres15
async def test_pages_of_large_tables_come_by_an_index_and_in_its_order(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)
    for index, ask in QUESTIONS:
        with monkeypatch.context() as patch:
            nodes = await plans_of(pool, patch, ask)
        assert {node["Node Type"] for node in nodes} <= {"Limit", "Index Scan"}, nodes
        [scan] = [node for node in nodes if node["Node Type"] == "Index Scan"]
        assert scan["Index Name"] == index
        assert scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) <= 8 * PAGE_ROWS_MAX


async def test_rare_rows_and_short_times_of_large_tables_come_by_an_index(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)
    begin, end = BEGIN + timedelta(seconds=3_000), BEGIN + timedelta(seconds=3_400)
    short = StatementFilter(account_id=BUSY, since=begin, until=end)
    day = timedelta(days=1)
    questions: list[Callable[[Queries], Awaitable[object]]] = [
        lambda q: q.tasks(TaskFilter(statuses=("failed",)), limit=20),
        lambda q: q.tasks(TaskFilter(account_id=BUSY, statuses=("failed",))),
        lambda q: q.statement(short),
        lambda q: q.statistics(BEGIN + 20 * day, BEGIN + 21 * day, types=["t1"]),
    ]
    for ask in questions:
        with monkeypatch.context() as patch:
            nodes = await plans_of(pool, patch, ask)
        kinds = {node["Node Type"] for node in nodes}
        assert kinds & {"Index Scan", "Bitmap Index Scan", "Index Only Scan"}, nodes
        assert "Seq Scan" not in kinds, nodes


async def test_queries_with_optional_conditions_are_planned_for_their_values(
    database: str,
) -> None:
    """A plan made once for any values could not use an index for those that were left out."""
    async with open_pool(database, 1) as pool:
        queries = Queries(pool)
        for _ in range(8):
            await queries.tasks(TaskFilter())
            await queries.tasks(MINE)
            await queries.statement(NEWEST)
            await queries.statement(OLDEST)
            await queries.statistics(BEGIN, BEGIN)
        kept = await fetch(pool, "SELECT FROM pg_prepared_statements", {}, prepare=False)
        assert kept == []


async def test_a_short_time_of_a_long_statement_reads_little_more_than_it_gives(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)
    begin, end = BEGIN + timedelta(seconds=3_000), BEGIN + timedelta(seconds=3_400)
    short = StatementFilter(account_id=BUSY, since=begin, until=end)
    nodes = await plans_of(pool, monkeypatch, lambda q: q.statement(short))
    assert "statement_lines_at_idx" in {node.get("Index Name") for node in nodes}
    assert sum(node.get("Rows Removed by Filter", 0) for node in nodes) == 0
