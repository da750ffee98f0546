"""The test suite's own promise: each test has a fresh, migrated database of the asked version."""

from __future__ import annotations

import psycopg
import pytest


@pytest.mark.parametrize("turn", [1, 2])
def test_a_database_is_migrated_and_carries_nothing_over(database: str, turn: int) -> None:
    with psycopg.connect(database) as connection:
        applied = connection.execute("select count(*) from _yoyo_migration").fetchone()
        connection.execute("create table left_behind ()")
    assert applied is not None
    assert applied[0] >= 1


def test_an_empty_database_has_no_table(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        tables = connection.execute("select from pg_tables where schemaname = 'public'").fetchall()
    assert tables == []


@pytest.mark.postgres15
def test_a_marked_test_meets_both_versions(database: str, request: pytest.FixtureRequest) -> None:
    with psycopg.connect(database) as connection:
        version = connection.info.server_version // 10_000
    assert version == (18 if "embedded" in request.node.name else 15)
