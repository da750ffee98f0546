"""Idempotency keys are forgotten when their time is over, not before, and a few at a time."""

from __future__ import annotations

import psycopg
import pytest

from adapters.idempotency_keys import delete_expired_keys
from adapters.pool import open_pool
from domain.errors import Unavailable

INSERT = (
    "insert into idempotency_keys (key, fingerprint, status, body, created_at)"
    " values (%s, '', 200, '', clock_timestamp() - make_interval(days => %s, mins => %s))"
)


def insert(database: str, name: bytes, *, days: int, minutes: int = 0) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(INSERT, [name, days, minutes])


def left(database: str) -> set[bytes]:
    with psycopg.connect(database) as connection:
        return {row[0] for row in connection.execute("select key from idempotency_keys")}


async def test_only_those_past_their_days_are_forgotten(database: str) -> None:
    insert(database, b"young", days=6)
    insert(database, b"nearly", days=7, minutes=-1)
    insert(database, b"over", days=7, minutes=1)
    insert(database, b"long over", days=400)
    async with open_pool(database, 2) as pool:
        assert await delete_expired_keys(pool, days=7, limit=100) == 2
        assert left(database) == {b"young", b"nearly"}
        assert await delete_expired_keys(pool, days=7, limit=100) == 0


async def test_the_oldest_go_first_and_never_more_than_the_limit(database: str) -> None:
    for days in (10, 30, 20):
        insert(database, str(days).encode(), days=days)
    async with open_pool(database, 2) as pool:
        assert await delete_expired_keys(pool, days=7, limit=2) == 2
    assert left(database) == {b"10"}


async def test_those_that_another_process_is_deleting_are_not_waited_for(database: str) -> None:
    for name in (b"a", b"b"):
        insert(database, name, days=10)
    with psycopg.connect(database) as rival:
        rival.execute("delete from idempotency_keys where key = 'a'")
        async with open_pool(database, 2) as pool:
            assert await delete_expired_keys(pool, days=7, limit=10) == 1
    assert left(database) == set()


async def test_a_database_that_is_gone_is_told(database: str) -> None:
    async with open_pool(database, 2) as pool:
        async with pool.connection() as connection:
            await connection.execute("select 1")
            backend = connection.info.backend_pid
        with psycopg.connect(database, autocommit=True) as killer:
            killer.execute("select pg_terminate_backend(%s)", [backend])
        with pytest.raises(Unavailable):
            await delete_expired_keys(pool, days=7, limit=10)
