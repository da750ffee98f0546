"""The queue is counted right, and a deep one seldom, from indexes, and once for all processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from adapters import queue_depth
from adapters.pool import Pool, open_pool
from adapters.queue_depth import COUNT_LOCK, QueueCounter
from adapters.sql import statement
from domain.errors import Unavailable
from tests.integration.queued_tasks import one_value, put_tasks

ALWAYS, NEVER = 1e-9, 1e9
"""Shares with which a kept count serves for ever, or not at all."""


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, 4) as opened:
        yield opened


@pytest.fixture
async def counter(pool: Pool) -> AsyncIterator[QueueCounter]:
    made = QueueCounter(pool)
    yield made
    await made.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every count is taken for one that was slow."""
    monkeypatch.setattr(queue_depth, "QUICK_SECONDS", -1.0)


@contextmanager
def locked(dsn: str, query: str) -> Iterator[Connection[tuple[Any, ...]]]:
    with psycopg.connect(dsn) as connection:
        connection.execute(query.encode())
        yield connection


async def waiting(counter: QueueCounter) -> int:
    return sum(depth.waiting for depth in (await counter.count()).depths)


@pytest.mark.postgres15
async def test_tasks_are_told_apart_by_what_they_wait_for(
    database: str, counter: QueueCounter
) -> None:
    put_tasks(database, 3, queued_seconds_ago=100)
    put_tasks(database, 2, starts_in_seconds=900)
    put_tasks(database, 4, status="backoff", starts_in_seconds=900)
    put_tasks(database, 5, status="running", queued_seconds_ago=1_000)
    put_tasks(database, 1, status="cancelling", queued_seconds_ago=1_000)
    put_tasks(database, 7, status="completed", queued_seconds_ago=1_000)
    put_tasks(database, 6, "b", status="backoff", queued_seconds_ago=90, starts_in_seconds=-50)
    put_tasks(database, 1, "c", starts_in_seconds=900)

    first, second, third = (await counter.count()).depths

    assert (first.type, first.waiting, first.delayed, first.backoff, first.active) == (
        ("a", 3, 2, 4, 6)
    )
    assert (second.type, second.waiting, second.delayed, second.backoff) == ("b", 6, 0, 0)
    assert (third.type, third.waiting, third.delayed, third.oldest_at) == ("c", 0, 1, None)
    oldest = one_value(database, "SELECT min(queued_at) FROM tasks WHERE status = 'queued'")
    assert first.oldest_at == oldest
    over = one_value(database, "SELECT min(not_before) FROM tasks WHERE type = 'b'")
    assert second.oldest_at == over
    assert 100 <= first.oldest_seconds < 100 + 120
    assert third.oldest_seconds == 0


async def test_a_pause_that_was_ended_waits_since_its_end(
    database: str, counter: QueueCounter
) -> None:
    """Not since the task was queued: until then it could not have started."""
    put_tasks(database, 1, queued_seconds_ago=500, starts_in_seconds=-40, woken=True)
    put_tasks(database, 1, queued_seconds_ago=30)
    [depth] = (await counter.count()).depths
    assert depth.oldest_at == one_value(database, "SELECT max(not_before) FROM tasks")


async def test_a_quick_count_is_made_for_everyone_who_asks(
    database: str, counter: QueueCounter
) -> None:
    put_tasks(database, 1)
    assert await waiting(counter) == 1
    put_tasks(database, 1)
    assert await waiting(counter) == 2


@pytest.mark.usefixtures("slow")
async def test_a_slow_count_serves_all_processes_for_a_while(
    database: str, pool: Pool, counter: QueueCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_depth, "SHARE", ALWAYS)
    put_tasks(database, 1)
    first = await counter.count()
    put_tasks(database, 1)
    assert await QueueCounter(pool).count() == first
    monkeypatch.setattr(queue_depth, "SHARE", NEVER)
    assert await waiting(counter) == 2


@pytest.mark.usefixtures("slow")
async def test_what_another_process_is_counting_is_not_counted_again(
    database: str, counter: QueueCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_depth, "SHARE", NEVER)
    put_tasks(database, 1)
    with locked(database, f"SELECT pg_advisory_xact_lock({COUNT_LOCK})"):
        assert await waiting(counter) == 1
        assert one_value(database, "SELECT count(*) FROM queue_counts") == 1
        put_tasks(database, 1)
        assert await waiting(counter) == 1
        monkeypatch.setattr(queue_depth, "KEPT_SECONDS_MAX", 0.0)
        assert await waiting(counter) == 2


@pytest.mark.usefixtures("slow")
async def test_nobody_waits_long_for_a_new_count_when_there_is_an_old_one(
    database: str, counter: QueueCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_depth, "SHARE", NEVER)
    monkeypatch.setattr(queue_depth, "PATIENCE_SECONDS", 0.01)
    put_tasks(database, 1)
    first = await counter.count()
    put_tasks(database, 1)
    with locked(database, "LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"):
        assert await counter.count() == first
    assert counter._counting is not None
    await counter._counting
    monkeypatch.setattr(queue_depth, "SHARE", ALWAYS)
    assert await waiting(counter) == 2


@pytest.mark.usefixtures("slow")
async def test_a_count_goes_on_without_the_one_who_asked(
    database: str, counter: QueueCounter
) -> None:
    put_tasks(database, 1)
    with locked(database, "LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await counter.count()
        assert counter._counting is not None
    [depth] = (await counter._counting).depths
    assert depth.waiting == 1
    assert one_value(database, "SELECT count(*) FROM queue_counts") == 1


async def test_a_count_that_takes_too_long_is_given_up(
    database: str, counter: QueueCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_depth, "COUNT_SECONDS_MAX", 0.05)
    with (
        locked(database, "LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(Unavailable, match="cannot be counted"),
    ):
        await counter.count()


@pytest.mark.postgres15
async def test_a_deep_queue_is_counted_from_indexes_alone(database: str) -> None:
    put_tasks(database, 30_000)
    put_tasks(database, 30_000, "b", starts_in_seconds=900)
    put_tasks(database, 30_000, status="completed")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE tasks")
        query = "EXPLAIN (ANALYZE, FORMAT JSON) " + statement("count_queue")
        [(plan,)] = connection.execute(query)
    nodes, seen = [], [plan[0]["Plan"]]
    while seen:
        node = seen.pop()
        nodes.append(node)
        seen += node.get("Plans", [])
    reads = [node for node in nodes if node.get("Relation Name") == "tasks"]
    deep = [n for n in reads if n["Actual Rows"] * n["Actual Loops"] > 1_000]
    assert {n["Node Type"] for n in deep} == {"Index Only Scan"}
    assert {n["Index Name"] for n in deep} <= {"tasks_queue_idx", "tasks_delayed_idx"}
    assert sum(n["Heap Fetches"] for n in deep) == 0
    assert "Seq Scan" not in {n["Node Type"] for n in reads}
