"""Pages of large tables are found by an index, and bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.abc import QueryNoTemplate

from adapters import queries as queries_module
from adapters.pool import Pool, fetch, open_pool
from adapters.queries import PAGE_ROWS_MAX, Queries, StatementFilter, TaskFilter
from adapters.sql import statement
from tests.histories import BEGIN

ROWS = 100_000
BUSY = UUID(int=1)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, 2) as opened:
        yield opened


def fill(dsn: str, rows: int = ROWS) -> None:
    """`rows` of each; the oldest tenth of the tasks and nine tenths of the lines are BUSY's."""
    owner = "lpad(CASE WHEN n <= %(rows)s / 10 THEN 1 ELSE n END::text, 32, '0')::uuid"
    account = "lpad(CASE WHEN n %% 10 = 0 THEN n ELSE 1 END::text, 32, '0')::uuid"
    data = (
        """'{"id":"00000000-0000-0000-0000-000000000001","version":1,"status":"queued",'"""
        """'"account_id":"00000000-0000-0000-0000-000000000001","type":"a","input":{},'"""
        """'"priority":2,"stalls_max":3,"attempts_max":3,"queue_seconds_max":60,'"""
        """'"run_seconds_max":60,"deadline_at":"2026-01-01T00:01:00Z",'"""
        """'"hold_id":"00000000-0000-0000-0000-000000000001",'"""
        """'"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",'"""
        """'"queued_at":"2026-01-01T00:00:00Z"}'"""
    ).replace("''", "")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tasks (id, version, account_id, type, status, priority, queued_at, token,"  # noqa: S608
            " created_at, turn, deadline_at, data, input)"
            f" SELECT lpad(n::text, 32, '0')::uuid, 1, {owner},"
            " CASE WHEN n %% 7 = 0 THEN 'a' ELSE 'b' END,"
            " CASE WHEN n %% 1000 = 0 THEN 'failed' ELSE 'completed' END, 2, %(begin)s, 1,"
            f" %(begin)s::timestamptz + n * interval '1 s', n, %(begin)s, {data}::json, '{{}}'"
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
            "INSERT INTO statistics_v2_counts SELECT date_trunc('hour', %(begin)s::timestamptz)"
            " + n / 10 * interval '1 h', 't' || n %% 10, 'queued', '', '', 0, 1, 0, 0, 0"
            " FROM generate_series(1, %(rows)s) AS n",
            {"begin": BEGIN, "rows": rows},
        )
        connection.execute(
            "INSERT INTO accounts SELECT lpad(n::text, 32, '0')::uuid, 1, 'standard', 'open', NULL,"
            " 0, 0, 0, 0, 0, %(begin)s, %(begin)s FROM generate_series(1, %(rows)s) AS n",
            {"begin": BEGIN, "rows": rows},
        )
        connection.execute("VACUUM ANALYZE tasks, statement_lines, statistics_v2_counts, accounts")


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
        # A member's group, if there is one, is looked up by its id for each row of the page.
        [scan] = [node for node in nodes if node.get("Index Name") not in {None, "documents_pkey"}]
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


async def test_a_period_of_a_long_statement_is_summed_up_by_an_index(
    database: str, pool: Pool
) -> None:
    fill(database)
    parameters = {
        "account_id": BUSY,
        "since": BEGIN + timedelta(seconds=3_000),
        "until": BEGIN + timedelta(seconds=3_400),
        "consumer": "statement.v1",
    }
    query = "EXPLAIN (ANALYZE, FORMAT JSON) " + statement("select_statement_summary")
    [(plan,)] = await fetch(pool, query, parameters, prepare=False)
    waiting, read, indexes = [plan[0]["Plan"]], 0, set()
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if node.get("Relation Name") == "statement_lines":
            read += node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            indexes.add(node.get("Index Name"))
    assert indexes <= {"statement_lines_at_idx", None}, plan
    assert read <= 401, plan


async def test_no_page_is_longer_than_the_limit(pool: Pool, database: str) -> None:
    queries = Queries(pool)
    fill(database, rows=20 * PAGE_ROWS_MAX)
    assert len(await queries.tasks(TaskFilter(), limit=9_999)) == PAGE_ROWS_MAX
    lines = await queries.statement(StatementFilter(account_id=BUSY), limit=9_999)
    assert len(lines) == PAGE_ROWS_MAX
