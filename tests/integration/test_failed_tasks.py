"""The failed tasks of a large account are found by their index, and no search is without an end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.abc import QueryNoTemplate

from adapters import failed_tasks as module
from adapters.failed_tasks import SCAN_TASKS_MAX, FailedFilter, FailedTasks, failed_tasks
from adapters.pool import Pool, fetch, open_pool

ROWS = 60_000
BUSY = UUID(int=1)
ANYTHING = FailedFilter()
RARE = FailedFilter(failure_types=("storage",))


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    fill(database)
    async with open_pool(database, 2) as opened:
        yield opened


def fill(dsn: str) -> None:
    """Most tasks are BUSY's, most of those failed, the last few of them in being stored."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tasks (id, version, account_id, type, status, priority, queued_at, token,"
            " created_at, ended_at, turn, deadline_at, group_id, data, input)"
            " SELECT lpad(n::text, 32, '0')::uuid, 1,"
            " lpad((n %% 10 > 0)::int::text, 32, '0')::uuid, 'a',"
            " CASE WHEN n %% 4 > 0 THEN 'failed' ELSE 'completed' END, 2, now(), 1,"
            " now(), '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 s', n, now(),"
            " CASE WHEN n %% 20 = 1 THEN gen_random_uuid() END,"
            """ json_build_object('failure', json_build_object('type',"""
            " CASE WHEN n > %(rows)s - 20 THEN 'storage' ELSE 'network' END)), '{}'"
            " FROM generate_series(1, %(rows)s) AS n",
            {"rows": ROWS},
        )
        connection.execute("VACUUM ANALYZE tasks")


async def explained(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, wanted: FailedFilter
) -> list[dict[str, Any]]:
    """Nodes of the plan of the query that is really sent, run and measured."""
    seen: list[dict[str, Any]] = []

    async def explain(
        pool: Pool, query: QueryNoTemplate, parameters: Mapping[str, object], **options: bool
    ) -> list[tuple[Any, ...]]:
        assert isinstance(query, str)
        text = "EXPLAIN (ANALYZE, FORMAT JSON) " + query
        [(plan,)] = await fetch(pool, text, parameters, **options)
        seen.append(plan[0]["Plan"])
        return await fetch(pool, query, parameters, **options)

    monkeypatch.setattr(module, "fetch", explain)
    await failed_tasks(pool, BUSY, wanted, 1_000)
    nodes: list[dict[str, Any]] = []
    while seen:
        node = seen.pop()
        nodes.append(node)
        seen += node.get("Plans", [])
    return nodes


@pytest.mark.postgres15
async def test_they_come_by_their_index_in_the_order_of_their_failure(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in (ANYTHING, RARE, FailedFilter(types=("b",), project="x")):
        with monkeypatch.context() as patch:
            nodes = await explained(pool, patch, wanted)
        assert "Seq Scan" not in {node["Node Type"] for node in nodes}
        [scan] = [node for node in nodes if "Index Name" in node]
        assert scan["Index Name"] == "tasks_failed_idx"
        assert scan["Actual Rows"] <= SCAN_TASKS_MAX
        assert scan.get("Rows Removed by Filter", 0) == 0


async def test_members_of_groups_are_left_out(pool: Pool) -> None:
    found = await failed_tasks(pool, BUSY, ANYTHING, 8)
    numbers = [n for n in range(1, 16) if n % 10 and n % 4 and n % 20 != 1][:8]
    assert [one.int for one in found.ids] == [int(str(n), 16) for n in numbers]
    assert found.more


async def test_a_search_ends_and_says_that_there_may_be_more(pool: Pool) -> None:
    assert await failed_tasks(pool, BUSY, RARE, 10, scan_max=100) == FailedTasks(ids=(), more=True)
    whole = await failed_tasks(pool, BUSY, RARE, 20, scan_max=ROWS)
    assert (len(whole.ids), whole.more) == (13, False)
    first = await failed_tasks(pool, BUSY, RARE, 3, scan_max=ROWS)
    assert (first.ids, first.more) == (whole.ids[:3], True)
    assert await failed_tasks(pool, UUID(int=9), ANYTHING, 10) == FailedTasks(ids=(), more=False)
