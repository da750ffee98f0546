"""Providers bear so much over all processes: running attempts, starts a minute, none while shut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import count

import psycopg
import pytest

from adapters.mapper import EventMapper
from adapters.providers import open_providers
from adapters.wakeup import QUEUED
from domain.failure import failure
from domain.retry import RETRY_AFTER_SECONDS_MAX
from domain.task import Task
from domain.task_events import TaskStarted
from service.task_types import TaskTypes
from tallystick.handler import Provider
from tests.integration.bus import Bench, opened
from tests.integration.gated_tasks import (
    BEAT,
    FREE,
    MINUTE_STARTS,
    TYPES,
    _type,
    finish,
    submit,
    two_processes,
)

BOTH = ["image", "video"]
REFUSED = failure("rate_limited")


@pytest.fixture
async def benches(database: str) -> AsyncIterator[tuple[Bench, Bench]]:
    async with two_processes(database) as made:
        yield made


async def _crowd(
    benches: tuple[Bench, Bench], types: list[str], claims: int = 64, limit: int = 3
) -> list[Task]:
    """What claims at one time get, half of them from each process."""
    asked = [benches[n % 2].attempts.claim(f"w{n}", types, limit) for n in range(claims)]
    return [task for claim in await asyncio.gather(*asked) for task in claim]


async def test_sixty_four_claims_at_once_start_what_a_provider_bears(
    benches: tuple[Bench, Bench],
) -> None:
    await submit(benches[0], "image", 40)
    await submit(benches[0], "video", 40)
    running = await _crowd(benches, BOTH)
    assert len(running) == len({task.id for task in running}) == 5
    for ended in range(1, 5):
        for task in running[:ended]:
            await finish(benches[0], task)
        more = await _crowd(benches, BOTH)
        assert len(more) == ended
        running = [*running[ended:], *more]


async def test_types_that_share_a_provider_take_its_room_in_the_order_of_the_queue(
    benches: tuple[Bench, Bench],
) -> None:
    bench = benches[0]
    await submit(bench, "image", 3, priority="low")
    high = await submit(bench, "video", 2, priority="high")
    critical = await submit(bench, "image", 1, priority="critical")
    normal = await submit(bench, "video", 4)
    claimed = await bench.attempts.claim("w", BOTH, 50)
    assert [task.id for task in claimed] == critical + high + normal[:2]


async def test_a_type_that_this_process_does_not_know_takes_room_too(database: str) -> None:
    image, video = (next(t for t in TYPES if t.name == name) for name in BOTH)
    async with opened(database, [image]) as one, opened(database, [video]) as other:
        await submit(one, "image", 9)
        await submit(other, "video", 9)
        assert len(await one.attempts.claim("a", ["image"], 3)) == 3
        assert len(await other.attempts.claim("b", ["video"], 9)) == 2
        assert await one.attempts.claim("a", ["image"], 3) == []


async def test_a_full_provider_holds_up_no_other_type(benches: tuple[Bench, Bench]) -> None:
    await submit(benches[0], "image", 9, priority="critical")
    await submit(benches[0], "free", 9, priority="low")
    claimed = await benches[0].attempts.claim("w", ["image", "free"], 12)
    assert [task.type for task in claimed] == ["image"] * 5 + ["free"] * 7


async def test_a_new_limit_holds_from_the_first_claim_of_a_process_that_has_it(
    benches: tuple[Bench, Bench], database: str
) -> None:
    await submit(benches[0], "image", 9)
    assert len(await benches[0].attempts.claim("w", ["image"], 9)) == 5
    wider = _type("image", Provider("five", running_tasks_max=7))
    async with opened(database, [wider]) as newer:
        assert len(await newer.attempts.claim("w", ["image"], 9)) == 2
    bare = _type("image")
    async with opened(database, [bare]) as newest:
        assert len(await newest.attempts.claim("w", ["image"], 9)) == 2


def _started_at(dsn: str) -> list[datetime]:
    mapper = EventMapper()
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT topic, state FROM tallystick_events WHERE topic LIKE 'task.started.%'"
            " ORDER BY notification_id"
        )
        events = [mapper.decode(topic, bytes(state)) for topic, state in rows]
    assert all(isinstance(event, TaskStarted) for event in events)
    return [event.meta.at for event in events]


async def test_starts_never_run_ahead_of_the_bucket_in_any_window(
    benches: tuple[Bench, Bench], database: str
) -> None:
    """Two processes claim without a rest until the burst and some refills are used up."""
    burst = MINUTE_STARTS // 10
    gain = (MINUTE_STARTS - burst + 1) / 60
    await submit(benches[0], "beat", 400)
    got, rounds = 0, count()
    while got < burst + 20:
        got += len(await _crowd(benches, ["beat"], claims=4, limit=40))
        assert next(rounds) < 100_000
    times = _started_at(database)
    assert len(times) == got
    # An event's time is read in the process, a little after the bucket's in the database.
    slack = timedelta(seconds=0.25)
    for first, begun in enumerate(times):
        for last in range(first, len(times)):
            window = (times[last] - begun + slack).total_seconds()
            assert last - first + 1 <= burst + gain * window + 1


async def test_no_minute_has_more_starts_than_it_may() -> None:
    """The bucket's burst and gain, as the database reckons them, for every limit there is."""
    for starts in (1, 2, 9, 10, 11, 59, 60, 600, 2**31 - 1):
        burst = max(1, starts // 10)
        gain = (starts - burst + 1) / 60
        assert burst + gain * 60 == pytest.approx(starts + 1)


async def test_the_bucket_fills_evenly_and_never_above_its_burst(database: str) -> None:
    async with opened(database, [BEAT]) as bench:
        await bench.attempts.claim("w", ["beat"], 1)

        def tokens(left: float, seconds: float, starts: int) -> float:
            query = (
                "SELECT bucket_tokens(p, p.refilled_at + make_interval(secs => %s)) FROM (SELECT"
                " 'p', NULL::bigint, %s::bigint, NULL::timestamptz, %s::float8, now())"
                " AS v (name, running_tasks_max, starts_per_minute_max, closed_until, tokens, at)"
                " CROSS JOIN LATERAL (SELECT (v.name, v.running_tasks_max, v.starts_per_minute_max,"
                " v.closed_until, v.tokens, v.at)::providers AS row) AS r"
                " CROSS JOIN LATERAL (SELECT (r.row).*) AS p"
            )
            return float(bench.row(query, seconds, starts, left)[0])

        assert tokens(0, 60, 60) == 6
        assert tokens(0, 1, 60) == pytest.approx(55 / 60)
        assert tokens(6, -30, 60) == 6
        assert tokens(0, 59.9, 1) < 1
        assert tokens(0, 60.1, 1) == 1


async def _refused(bench: Bench, type_: str, seconds: float | None = None) -> Task:
    """A task of the type whose attempt the provider has refused."""
    [task] = await bench.attempts.claim("w", [type_], 1)
    await bench.attempts.fail(
        task.id,
        task.account_id,
        token=task.token,
        failure=REFUSED,
        worker="w",
        retry_after_seconds=seconds,
    )
    return task


def _closed_seconds(bench: Bench) -> float | None:
    query = "SELECT extract(epoch FROM closed_until - clock_timestamp())::float8 FROM providers"
    closed: float | None = bench.row(query + " WHERE name = 'shut'")[0]
    return closed


def _reopen(bench: Bench) -> None:
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE providers SET closed_until = now() WHERE name = 'shut'")


async def test_a_refused_attempt_closes_the_provider_for_all_its_types_and_processes(
    benches: tuple[Bench, Bench],
) -> None:
    one, other = benches
    await submit(one, "talk", 3)
    await submit(one, "sing", 3)
    await submit(one, "free", 1)
    await _refused(one, "talk", 100)
    assert [task.type for task in await other.attempts.claim("w", ["talk", "sing", "free"], 9)] == [
        "free"
    ]
    closed = _closed_seconds(one)
    assert closed is not None
    assert 60 < closed <= 100
    _reopen(one)
    assert len(await other.attempts.claim("w", ["talk", "sing"], 9)) == 5


async def test_of_several_refusals_the_latest_time_holds(benches: tuple[Bench, Bench]) -> None:
    one, other = benches
    await submit(one, "talk", 3)
    tasks = await one.attempts.claim("w", ["talk"], 3)
    for bench, task, seconds in zip((one, other, one), tasks, (300, 900, 600), strict=True):
        command = bench.attempts.failing(
            "talk", token=task.token, failure=REFUSED, retry_after_seconds=seconds
        )
        await bench.attempts.proceed(task.id, task.account_id, command, worker="w")
    closed = _closed_seconds(one)
    assert closed is not None
    assert 600 < closed <= 900


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(None, 5, 7), (10_000_000, RETRY_AFTER_SECONDS_MAX - 60, RETRY_AFTER_SECONDS_MAX)],
)
async def test_how_long_a_provider_is_closed(
    benches: tuple[Bench, Bench], asked: float | None, least: float, most: float
) -> None:
    """Without a word of the provider's own for the type's pause, and never without an end."""
    await submit(benches[0], "talk")
    await _refused(benches[0], "talk", asked)
    closed = _closed_seconds(benches[0])
    assert closed is not None
    assert least < closed <= most


async def test_other_failures_and_stale_workers_close_nothing(
    benches: tuple[Bench, Bench],
) -> None:
    bench = benches[0]
    await submit(bench, "talk", 3)
    [broken, stale, free] = [*await bench.attempts.claim("w", ["talk"], 2), *await _free(bench)]
    for task, token, reason in (
        (broken, broken.token, failure("network")),
        (stale, stale.token + 1, REFUSED),
        (free, free.token, REFUSED),
    ):
        work = bench.attempts.fail(
            task.id, task.account_id, token=token, failure=reason, worker="w"
        )
        await asyncio.gather(work, return_exceptions=True)
    assert _closed_seconds(bench) is None
    assert len(await bench.attempts.claim("w", ["talk"], 9)) == 1


async def _free(bench: Bench) -> list[Task]:
    await submit(bench, FREE.name)
    return await bench.attempts.claim("w", [FREE.name], 1)


async def test_workers_are_woken_when_a_closing_is_over(benches: tuple[Bench, Bench]) -> None:
    bench = benches[0]
    await submit(bench, "talk", 2)
    await _refused(bench, "talk", 100)
    assert await open_providers(bench.pool, 10) == 0
    _reopen(bench)
    async with await psycopg.AsyncConnection.connect(bench.dsn, autocommit=True) as listener:
        await listener.execute("LISTEN tallystick_events")
        assert await open_providers(bench.pool, 10) == 1
        woken = [notice.payload async for notice in listener.notifies(timeout=20, stop_after=1)]
    assert woken == [QUEUED]
    assert await open_providers(bench.pool, 10) == 0


async def test_types_of_one_provider_must_agree_on_its_limits() -> None:
    one = _type("one", Provider("p", running_tasks_max=1))
    other = _type("other", Provider("p", running_tasks_max=2))
    with pytest.raises(ValueError, match="'p' different limits"):
        TaskTypes([one, other])
    assert TaskTypes([one]).provider_names == {"one": "p"}
