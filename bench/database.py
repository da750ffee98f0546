"""The server that every system is measured on: the embedded PostgreSQL, as it comes."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from psycopg import sql

from adapters.embedded import EmbeddedPostgres

FOLDER_VARIABLE = "TALLYSTICK_BENCH_FOLDER"


def folder() -> Path:
    return Path(os.environ[FOLDER_VARIABLE])


def server() -> EmbeddedPostgres:
    return EmbeddedPostgres(folder() / "pg")


def dsn(name: str) -> str:
    return server().dsn(name)


def fresh(name: str) -> str:
    """DSN of an empty database of that name, on a server that has just made a checkpoint."""
    with psycopg.connect(dsn("postgres"), autocommit=True) as connection:
        database = sql.Identifier(name)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        connection.execute("CHECKPOINT")
    return dsn(name)


def settle(name: str) -> None:
    """The same planner statistics and the same quiet start for every system."""
    with psycopg.connect(dsn(name), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def count(name: str, query: str) -> int:
    """The one number that a query of the benchmark's own gives."""
    with psycopg.connect(dsn(name), autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
