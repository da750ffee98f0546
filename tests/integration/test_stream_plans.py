"""What live streams ask of large tables is bounded: probes by id, in windows of the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.account_log import WINDOW_FACTS_MAX, WINDOW_POSITIONS, AccountLog
from adapters.mapper import EventMapper
from adapters.pool import Pool, fetch, open_pool
from adapters.sql import statement
from tests.integration.test_query_plans import BUSY, fill

ROWS = 100_000
EVENTS_EACH = 3


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, 2) as opened:
        yield opened


def fill_log(dsn: str, rows: int = ROWS) -> None:
    """Three facts of each task of `fill`, the first tenth being BUSY's; all of one stored form."""
    fill(dsn, rows)
    event = (
        '\'{"originator_id":"00000000-0000-0000-0000-000000000001","originator_version":1,\''
        '\'"meta":{"at":"2026-01-01T00:00:00Z","actor":"a",\''
        '\'"correlation_id":"00000000-0000-0000-0000-000000000001",\''
        '\'"causation_id":"00000000-0000-0000-0000-000000000001"},"token":1,"stage":"a",\''
        "'\"percent\":1}'"
    ).replace("''", "")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tallystick_events (originator_id, originator_version, topic, state)"  # noqa: S608
            " SELECT lpad(n::text, 32, '0')::uuid, v, 'task.stage_reached.v1',"
            f" convert_to({event}, 'UTF8')"
            " FROM generate_series(1, %(rows)s) AS n, generate_series(1, %(each)s) AS v",
            {"rows": rows, "each": EVENTS_EACH},
        )
        connection.execute("VACUUM ANALYZE tallystick_events")


async def nodes_of(pool: Pool, name: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    """Nodes of the statement's plan, run and measured."""
    query: Any = "EXPLAIN (ANALYZE, FORMAT JSON) " + statement(name)
    [(plan,)] = await fetch(pool, query, parameters)
    waiting, nodes = [plan[0]["Plan"]], []
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        waiting += node.get("Plans", [])
    return nodes


def touched(nodes: list[dict[str, Any]]) -> float:
    """Rows that the scans looked at."""
    return float(
        sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in nodes
            if "Scan" in node["Node Type"] and "Function" not in node["Node Type"]
        )
    )


@pytest.mark.postgres15
async def test_a_window_of_an_accounts_log_looks_at_no_more_than_its_positions(
    database: str, pool: Pool
) -> None:
    fill_log(database)
    everything = {"limit": WINDOW_FACTS_MAX, "bytes_max": 2**40, "account_id": BUSY}
    for after in (0, ROWS // 2, ROWS * EVENTS_EACH - WINDOW_POSITIONS):
        window = {"after": after, "upto": after + WINDOW_POSITIONS}
        nodes = await nodes_of(pool, "select_account_events", everything | window)
        kinds = {node["Node Type"] for node in nodes}
        assert "Seq Scan" not in kinds, nodes
        assert "Hash Join" not in kinds, "it would read all tasks of the account first"
        assert touched(nodes) <= 3 * WINDOW_POSITIONS, nodes


@pytest.mark.postgres15
async def test_looks_at_watched_tasks_are_probes_by_id(database: str, pool: Pool) -> None:
    fill_log(database)
    ids = [UUID(int=int(str(n), 16)) for n in range(1, ROWS, ROWS // 50)]
    asked: dict[str, dict[str, object]] = {
        "select_progress": {"ids": ids},
        "select_owners": {"ids": ids},
        "select_running_tasks": {"account_id": BUSY, "limit": 200},
        "select_events_before": {"ids": ids, "versions": [3] * len(ids), "limit": 100_000},
        "select_account_at": {"account_id": BUSY},
    }
    for name, parameters in asked.items():
        nodes = await nodes_of(pool, name, parameters)
        assert touched(nodes) <= 4 * len(ids), (name, nodes)
        scanned = {n.get("Relation Name") for n in nodes if n["Node Type"] == "Seq Scan"}
        assert scanned <= {"documents"}, (name, nodes)


async def test_windows_add_up_to_the_log_of_the_account(database: str, pool: Pool) -> None:
    """Also across stretches in which there is nothing of it, and pieces cut short by their size."""
    fill_log(database, rows=8_000)
    log, seen, after = AccountLog(pool, EventMapper()), [], 0
    windows = 0
    while after < 8_000 * EVENTS_EACH:
        window = await log.window(BUSY, after, 8_000 * EVENTS_EACH)
        assert window.upto > after
        seen += [fact.position for fact in window.facts]
        after = window.upto
        windows += 1
    [(mine,)] = await fetch(
        pool,
        "SELECT array_agg(e.notification_id ORDER BY 1) FROM tallystick_events AS e"
        " JOIN tasks AS t ON t.id = e.originator_id WHERE t.account_id = %(account_id)s",
        {"account_id": BUSY},
    )
    assert seen == sorted(mine)
    assert len(seen) == 800 * EVENTS_EACH
    assert windows > len(seen) / WINDOW_FACTS_MAX
