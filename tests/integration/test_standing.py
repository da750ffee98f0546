"""What a waiting task is told: everything that holds it back, its place, and an honest estimate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from adapters import standing as module
from adapters.standing import Standing, standing, waiting
from domain.failure import failure
from service.http.estimates import Estimates
from service.http.throttle import QueuePlace, place_of, throttles
from tests.integration.bus import ORIGIN, Bench
from tests.integration.gated_tasks import MINUTE_STARTS, account, gates_of, submit, two_processes


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with two_processes(database) as (made, _):
        yield made


async def _stands(bench: Bench, task_id: UUID) -> Standing:
    type_ = bench.task(task_id).type
    found = await standing(bench.pool, task_id, bench.types.running_tasks_max(type_))
    assert found is not None
    return found


async def _reasons(bench: Bench, task_id: UUID) -> list[str]:
    return [throttle.reason for throttle in throttles(await _stands(bench, task_id))]


async def test_a_task_whose_turn_is_to_come_is_held_back_by_nothing(bench: Bench) -> None:
    [task_id] = await submit(bench, "image")
    assert await _reasons(bench, task_id) == []


async def test_each_pause_is_a_reason(bench: Bench) -> None:
    # The first claim of a process declares its providers.
    assert await bench.attempts.claim("w", ["free"], 1) == []
    [task_id] = await submit(bench, "image")
    gates = gates_of(bench)
    for kind, name in (
        ("provider", "five"),
        ("account", bench.account_id.hex),
        ("type", "image"),
    ):
        await gates.pause(kind, name, reason="why not", origin=ORIGIN)  # type: ignore[arg-type]
    assert await _reasons(bench, task_id) == ["type_paused", "account_paused", "provider_paused"]
    place = place_of(await _stands(bench, task_id))
    assert place is not None
    assert place.starts_in_seconds is None
    await gates.resume("account", bench.account_id.hex, reason="over", origin=ORIGIN)
    assert await _reasons(bench, task_id) == ["type_paused", "provider_paused"]


async def test_a_full_provider_and_a_full_type_are_reasons(bench: Bench) -> None:
    await submit(bench, "video", 5)
    [image] = await submit(bench, "image")
    await submit(bench, "narrow", 2)
    assert len(await bench.attempts.claim("w", ["video", "narrow"], 50)) == 7
    [narrow] = await submit(bench, "narrow")
    assert await _reasons(bench, image) == ["provider_full"]
    assert await _reasons(bench, narrow) == ["type_full"]


async def test_a_spent_bucket_says_when_it_gives_again(bench: Bench) -> None:
    await submit(bench, "beat", MINUTE_STARTS // 10)
    await bench.attempts.claim("w", ["beat"], MINUTE_STARTS // 10)
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE providers SET tokens = -100 WHERE name = 'paced'")
    [task_id] = await submit(bench, "beat")
    stands = await _stands(bench, task_id)
    [throttle] = throttles(stands)
    assert throttle.reason == "provider_rate"
    assert throttle.until is not None
    gain = (MINUTE_STARTS - MINUTE_STARTS // 10 + 1) / 60
    assert timedelta() < throttle.until - stands.now <= timedelta(seconds=101 / gain)


async def test_backoff_and_the_closing_that_caused_it_both_say_until_when(bench: Bench) -> None:
    [task_id] = await submit(bench, "talk")
    [task] = await bench.attempts.claim("w", ["talk"], 1)
    await bench.attempts.fail(
        task_id,
        task.account_id,
        token=task.token,
        failure=failure("rate_limited"),
        worker="w",
        retry_after_seconds=60,
    )
    stands = await _stands(bench, task_id)
    closed, backoff = throttles(stands)
    assert (closed.reason, backoff.reason) == ("provider_closed", "backoff")
    for throttle in (closed, backoff):
        assert throttle.until is not None
        assert timedelta(seconds=30) < throttle.until - stands.now <= timedelta(seconds=60)
    assert place_of(stands) is None


async def test_a_task_for_later_is_delayed_and_stands_in_no_line(bench: Bench) -> None:
    later = (await _now(bench)) + timedelta(days=1)
    [task_id] = await submit(bench, "free", not_before=later)
    stands = await _stands(bench, task_id)
    [throttle] = throttles(stands)
    assert (throttle.reason, throttle.until) == ("delayed", later)
    assert place_of(stands) is None


async def _now(bench: Bench) -> datetime:
    now: datetime = bench.row("SELECT date_trunc('second', now())")[0]
    return now


async def test_a_place_counts_those_that_could_start_before_it(bench: Bench) -> None:
    paused = await account(bench)
    await submit(bench, "free", 2, account_id=paused, priority="critical")
    await submit(bench, "free", 3)
    await submit(bench, "image", 3)
    [last] = await submit(bench, "free", priority="low")
    [first] = await submit(bench, "free", priority="high")
    assert [(await _stands(bench, task)).ahead for task in (first, last)] == [2, 6]
    await gates_of(bench).pause("account", paused.hex, reason="why not", origin=ORIGIN)
    assert [(await _stands(bench, task)).ahead for task in (first, last)] == [0, 4]


async def test_a_place_far_behind_is_told_as_at_least(bench: Bench) -> None:
    ids = [*await submit(bench, "free", 1_000), *await submit(bench, "free", 3)]
    for number, position, precision in ((1_000, 1_000, "exact"), (1_001, 1_000, "at_least")):
        place = place_of(await _stands(bench, ids[number]))
        assert place is not None
        assert (place.position, place.precision) == (position, precision)


async def test_an_estimate_follows_from_the_starts_that_were_measured(bench: Bench) -> None:
    ids = await submit(bench, "free", 200)
    assert (await _stands(bench, ids[-1])).pace is None
    assert len(await bench.attempts.claim("w", ["free"], 100)) == 100
    assert (await _stands(bench, ids[-1])).pace is None
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE queue_pace SET since = at - interval '10 seconds'")
    stands = await _stands(bench, ids[-1])
    assert stands.pace is not None
    # A hundred in ten seconds; a little less since each counts for less the older it is.
    assert 9 < stands.pace < 12
    place = place_of(stands)
    assert place is not None
    assert place.starts_in_seconds is not None
    assert 100 / 12 <= place.starts_in_seconds <= 100 / 9 + 1
    _pass(bench, timedelta(minutes=1), waiting=True)
    place = place_of(await _stands(bench, ids[100]))
    assert place is not None
    assert place.starts_in_seconds is not None
    assert (place.position, place.starts_in_seconds >= 60) == (0, True)
    _pass(bench, timedelta(hours=1), waiting=True)
    assert (await _stands(bench, ids[-1])).pace is None


async def test_time_in_which_nobody_waited_says_nothing_of_the_pace(bench: Bench) -> None:
    """Else a task now and then would be told to wait for as long as they are apart."""
    await submit(bench, "free", 100)
    await bench.attempts.claim("w", ["free"], 100)
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE queue_pace SET since = at - interval '10 seconds'")
    for _ in range(3):
        _pass(bench, timedelta(minutes=5))
        [line] = await waiting(bench.pool)
        assert line.pace is not None
        assert 5 < line.pace < 12
        [task_id] = await submit(bench, "free")
        place = place_of(await _stands(bench, task_id))
        assert place == QueuePlace(position=0, precision="exact", starts_in_seconds=1)
        assert len(await bench.attempts.claim("w", ["free"], 1)) == 1


def _pass(bench: Bench, time: timedelta, *, waiting: bool = False) -> None:
    """Let so much time go by since the last start, in which who waits now did or did not wait."""
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE queue_pace SET at = at - %s, since = since - %s", (time, time))
        if waiting:
            connection.execute("UPDATE tasks SET queued_at = queued_at - %s", (time,))


async def test_what_waits_no_more_has_no_standing(bench: Bench) -> None:
    [task_id] = await submit(bench, "free")
    await bench.attempts.claim("w", ["free"], 1)
    assert await standing(bench.pool, task_id, None) is None


async def test_the_figures_that_are_kept_are_by_type_and_priority_and_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_TASKS_MAX", 4)
    await submit(bench, "free", 3)
    await submit(bench, "free", 9, priority="low")
    await submit(bench, "image", 2, priority="critical")
    lines = {(line.type, line.priority): line.tasks for line in await waiting(bench.pool)}
    assert lines == {("free", 2): 3, ("free", 3): 5, ("image", 0): 2}


async def test_a_submissions_place_comes_from_kept_figures(bench: Bench) -> None:
    estimates = Estimates(bench.pool)
    assert estimates.place("free", 2) is None
    await submit(bench, "free", 3)
    await submit(bench, "free", 4, priority="low")
    await estimates.refresh()
    assert estimates.place("free", 2) == QueuePlace(
        position=3, precision="about", starts_in_seconds=None
    )
    place = estimates.place("free", 3)
    assert place is not None
    assert place.position == 7
    now = await _now(bench)
    assert estimates.seconds("free", None, lambda: now) == 5
    assert estimates.seconds("free", None, lambda: now, starts_in=90) == 95
    assert estimates.seconds("free", None, lambda: now, starts_in=9_000) == 300
