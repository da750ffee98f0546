"""One database for the many crash points of a module: each uses accounts of its own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from adapters.embedded import EmbeddedPostgres
from adapters.migrate import migrate


@pytest.fixture(scope="module")
def shared_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """DSN of a migrated database that the module's tests share; dropped afterwards."""
    name = f"shared_{uuid4().hex}"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
        migrate(postgres.dsn(name))
        try:
            yield postgres.dsn(name)
        finally:
            connection.execute(f"drop database {name} with (force)".encode())
