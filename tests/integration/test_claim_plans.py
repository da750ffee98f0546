"""A claim reads the heads of ordered indexes, however many tasks are queued, running or ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from adapters.sql import statement

QUEUED, ENDED, RUNNING = 60_000, 1_000, 200
LIMIT = 100
PAUSED = UUID(int=3)
TYPES = ["a", "b", "c"]
_FILL = """
INSERT INTO tasks (
    id, version, account_id, type, status, priority, turn, queued_at, token, created_at, deadline_at, data, lease_until
)
SELECT
    gen_random_uuid(), 1, lpad((1 + n %% 50)::text, 32, '0')::uuid, CASE n %% 50 WHEN 0 THEN 'b' WHEN 1 THEN 'c' ELSE 'a' END, %(status)s,
    n %% 4, n, now(), 1, now(), now() + interval '1 day', to_json(repeat('x', 400)), CASE WHEN %(status)s = 'running' THEN now() END
FROM generate_series(1, %(rows)s) AS n
"""  # noqa: E501 - SQL, in the width of the SQL files
_GATES = """
INSERT INTO providers (name, running_tasks_max, starts_per_minute_max) VALUES ('p', 500, 60000);
INSERT INTO provider_types (type, provider) VALUES ('a', 'p'), ('b', 'p');
INSERT INTO documents (id, kind, version, account_id, name, status, created_at, data)
VALUES (gen_random_uuid(), 'pause', 1, lpad('3', 32, '0')::uuid, 'a', 'paused', now(), '{}');
"""


@pytest.fixture(params=["gates", "no gates"])
def filled(database: str, request: pytest.FixtureRequest) -> str:
    """What the planner makes of a claim depends on whether there is anything to hold it back."""
    with psycopg.connect(database, autocommit=True) as connection:
        for status, rows in (("queued", QUEUED), ("completed", ENDED), ("running", RUNNING)):
            connection.execute(_FILL, {"status": status, "rows": rows})
        if request.param == "gates":
            connection.execute(_GATES)
        connection.execute("VACUUM ANALYZE tasks, documents, providers, provider_types")
    return database


def _plan(dsn: str, name: str, types: list[tuple[str, object]], mode: str) -> list[dict[str, Any]]:
    """Nodes of the plan of a statement as it is sent, run and measured, then rolled back.

    `types` are its parameters in the order of their first use: name and type, and value.
    """
    query = statement(name)
    for place, (parameter, _) in enumerate(types, start=1):
        query = query.replace(f"%({parameter})s", f"${place}")
    values = sql.SQL(", ").join(sql.Literal(value) for _, value in types)
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("SET plan_cache_mode = {}").format(sql.Literal(mode)))
        connection.execute(f"PREPARE asked AS {query}".encode())
        row = connection.execute(
            sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ({})").format(values)
        ).fetchone()
        assert row is not None
        connection.rollback()
    nodes, seen = [], [row[0][0]["Plan"]]
    while seen:
        node = seen.pop()
        nodes.append(node)
        seen += node.get("Plans", [])
    return nodes


def _read(nodes: list[dict[str, Any]]) -> dict[str, float]:
    """Rows of `tasks` that each index gave, those filtered out included; other ways raise."""
    rows: dict[str, float] = {}
    for node in nodes:
        if node.get("Relation Name") == "tasks" and "Scan" in node["Node Type"]:
            assert node["Node Type"] != "Seq Scan", node
            passed = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            index = node.get("Index Name", "bitmap")
            rows[index] = rows.get(index, 0) + passed * node["Actual Loops"]
    return rows


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_claim_reads_little_more_than_it_starts(filled: str, mode: str) -> None:
    parameters: list[tuple[str, object]] = [
        ("types", TYPES),
        ("running_max", [None, None, 1_000]),
        ("taken", []),
        ("limit", LIMIT),
    ]
    read = _read(_plan(filled, "select_claimable", parameters, mode))
    assert read["tasks_queue_idx"] <= 2 * LIMIT * len(TYPES)
    assert sum(read.values()) <= 2 * LIMIT * len(TYPES) + 3 * len(TYPES) * RUNNING


def test_putting_tasks_aside_reads_the_heads_of_the_types(filled: str) -> None:
    read = _read(_plan(filled, "park_tasks", [("limit", LIMIT)], "auto"))
    assert read.get("tasks_queue_idx", 0) <= (LIMIT + 1) * len(TYPES) + 1


def test_taking_tasks_back_reads_those_that_were_put_aside(filled: str) -> None:
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute(
            "UPDATE tasks SET parked = true, delayed_until = 'infinity'"
            " WHERE account_id IN (%s, %s) AND status = 'queued'",
            (PAUSED, UUID(int=4)),
        )
        connection.execute("VACUUM ANALYZE tasks")
    read = _read(_plan(filled, "unpark_tasks", [("limit", LIMIT)], "auto"))
    assert read["tasks_parked_idx"] <= LIMIT + 5
