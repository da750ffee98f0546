"""A backlog is raised once and over once, by any number of processes, and told at least once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from adapters.backlogs import RETRY_SECONDS, Alert, Backlogs, Notice
from adapters.pool import Pool, open_pool
from adapters.queue_depth import QueueCount, QueueCounter, QueueDepth
from service.alerts import AlertHook, Alerts
from tests.integration.queued_tasks import one_value, pass_seconds, put_tasks

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TASKS_MAX, SECONDS = 10, 60
TYPES = ("a", "b", "c")


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, 6) as opened:
        yield opened


@pytest.fixture
def backlogs(pool: Pool) -> Backlogs:
    return Backlogs(pool, tasks_max=TASKS_MAX, seconds=SECONDS)


def counted(seconds: int, **waiting: int) -> QueueCount:
    """The queue so many seconds after BEGIN; the first has waited from the begin."""
    depths = [
        QueueDepth(
            type=type_,
            waiting=number,
            paused=99,
            delayed=99,
            backoff=99,
            active=99,
            oldest_at=BEGIN,
            oldest_seconds=float(seconds),
        )
        for type_, number in waiting.items()
    ]
    return QueueCount(counted_at=BEGIN + timedelta(seconds=seconds), depths=depths)


async def noticed(backlogs: Backlogs) -> list[tuple[str, str, int]]:
    """Moment, type and tasks of what is to be told; told by this."""
    notices = await backlogs.take()
    for notice in notices:
        await backlogs.told(notice)
    return [(n.alert.moment, n.alert.type, n.alert.waiting) for n in notices]


@pytest.mark.postgres15
async def test_too_many_for_too_long_are_raised_once_and_over_once(backlogs: Backlogs) -> None:
    steps: list[tuple[int, int, list[tuple[str, str, int]]]] = [
        (0, 11, []),
        (59, 11, []),
        (60, 12, [("backlog.raised", "a", 12)]),
        (61, 12, []),
        (300, 11, []),
        (301, 10, [("backlog.over", "a", 10)]),
        (302, 11, []),
        (361, 10, []),
        (362, 11, []),
        (421, 11, []),
        (422, 11, [("backlog.raised", "a", 11)]),
    ]
    for seconds, waiting, told in steps:
        await backlogs.see(counted(seconds, a=waiting), ["hooks"])
        assert await noticed(backlogs) == told, seconds
    [raised] = await backlogs.raised()
    assert (raised.type, raised.since) == ("a", BEGIN + timedelta(seconds=362))
    assert raised.raised_at == BEGIN + timedelta(seconds=422)


async def test_a_notice_says_since_when_and_how_much(backlogs: Backlogs) -> None:
    await backlogs.see(counted(0, a=11, b=1), ["hooks"])
    await backlogs.see(counted(90, a=40), ["hooks"])
    [notice] = await backlogs.take()
    assert notice == Notice(
        channel="hooks",
        attempts=1,
        alert=Alert(
            id=notice.alert.id,
            moment="backlog.raised",
            type="a",
            waiting=40,
            since=BEGIN,
            oldest_at=BEGIN,
            at=BEGIN + timedelta(seconds=90),
        ),
    )


async def test_a_type_that_is_gone_from_the_queue_is_over(backlogs: Backlogs) -> None:
    await backlogs.see(counted(0, a=11), ["hooks"])
    await backlogs.see(counted(60, a=11), ["hooks"])
    await backlogs.see(counted(61), ["hooks"])
    assert await noticed(backlogs) == [("backlog.raised", "a", 11), ("backlog.over", "a", 0)]
    assert await backlogs.raised() == []


async def test_without_patience_it_is_raised_at_once(pool: Pool) -> None:
    hasty = Backlogs(pool, tasks_max=0, seconds=0)
    await hasty.see(counted(0, a=1), ["hooks"])
    assert await noticed(hasty) == [("backlog.raised", "a", 1)]
    await hasty.see(counted(1, a=1), ["hooks"])
    assert await noticed(hasty) == []


@pytest.mark.parametrize("seed", range(6))
async def test_any_counts_in_any_order_raise_what_a_plain_model_raises(
    backlogs: Backlogs, seed: int
) -> None:
    """Counts of several processes arrive late, twice or not at all."""
    random = Random(seed)  # noqa: S311 - repeatable, not secret
    since: dict[str, int] = {}
    seen: dict[str, int] = {}
    raised: set[str] = set()
    now = 0
    for _ in range(120):
        now += random.choice((1, 5, 20))
        at = max(0, now - random.choice((0, 0, 0, 7, 30)))
        waiting = {t: random.choice((9, 11, 11, 11, 11)) for t in TYPES if random.random() < 0.95}
        expected: list[tuple[str, str]] = []
        for type_ in TYPES:
            above = waiting.get(type_, 0) > TASKS_MAX
            if type_ not in since and above:
                since[type_] = seen[type_] = at
            elif type_ in since and at > seen[type_] and above:
                seen[type_] = at
                if at - since[type_] >= SECONDS and type_ not in raised:
                    raised.add(type_)
                    expected.append(("backlog.raised", type_))
            elif type_ in since and at > seen[type_]:
                del since[type_]
                if type_ in raised:
                    raised.discard(type_)
                    expected.append(("backlog.over", type_))
        await backlogs.see(counted(at, **waiting), ["hooks"])
        found = [(moment, type_) for moment, type_, _ in await noticed(backlogs)]
        assert sorted(found) == sorted(expected)
        assert {b.type for b in await backlogs.raised()} == raised


async def test_many_at_once_raise_and_end_once(pool: Pool) -> None:
    several = [Backlogs(pool, tasks_max=TASKS_MAX, seconds=SECONDS) for _ in range(6)]
    told: list[tuple[str, str, int]] = []
    for count in (counted(0, a=11, b=11), counted(60, a=11, b=11), counted(70, b=11)):
        await asyncio.gather(*(one.see(count, ["hooks"]) for one in several))
        for found in await asyncio.gather(*map(noticed, several)):
            told += found
    assert sorted(told) == [
        ("backlog.over", "a", 0),
        ("backlog.raised", "a", 11),
        ("backlog.raised", "b", 11),
    ]


async def test_a_notice_that_was_taken_and_not_told_comes_again_later(
    database: str, backlogs: Backlogs
) -> None:
    for seconds in (0, 60):
        await backlogs.see(counted(seconds, a=11), ["hooks", "webhook"])
    taken = await backlogs.take()
    assert sorted(notice.channel for notice in taken) == ["hooks", "webhook"]
    await backlogs.told(next(notice for notice in taken if notice.channel == "webhook"))
    assert await backlogs.take() == []
    for attempt in (2, 3):
        pass_seconds(database, RETRY_SECONDS * 2 ** (attempt - 2) - 1)
        assert await backlogs.take() == []
        pass_seconds(database, 1)
        [again] = await backlogs.take()
        assert (again.channel, again.attempts) == ("hooks", attempt)
        assert again.alert == taken[0].alert


# The teller.


@pytest.fixture
async def counter(pool: Pool) -> AsyncIterator[QueueCounter]:
    made = QueueCounter(pool)
    yield made
    await made.close()


def teller(pool: Pool, counter: QueueCounter, *hooks: AlertHook) -> Alerts:
    return Alerts(counter, Backlogs(pool, tasks_max=2, seconds=0), hooks)


async def test_hooks_hear_of_a_backlog_and_none_is_in_the_others_way(
    database: str, pool: Pool, counter: QueueCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.hooks.HOOK_SECONDS_MAX", 0.05)
    heard: list[Alert] = []

    async def hang(_: Alert) -> None:
        await asyncio.Event().wait()

    def refuse(alert: Alert) -> None:
        raise RuntimeError(alert.moment)

    def leave(alert: Alert) -> None:
        raise SystemExit(alert.moment)

    put_tasks(database, 3, "slow")
    alerts = teller(pool, counter, hang, refuse, leave, heard.append)
    assert await alerts.sweep() == 1
    assert await alerts.sweep() == 0
    [alert] = heard
    assert (alert.moment, alert.type, alert.waiting) == ("backlog.raised", "slow", 3)
    assert alert.oldest_at == one_value(database, "SELECT min(queued_at) FROM tasks")
    assert one_value(database, "SELECT count(*) FROM alert_notices") == 0


async def test_one_that_dies_while_telling_leaves_it_to_the_next(
    database: str, pool: Pool, counter: QueueCounter
) -> None:
    telling = asyncio.Event()
    heard: list[Alert] = []

    async def hang(alert: Alert) -> None:
        heard.append(alert)
        telling.set()
        await asyncio.Event().wait()

    put_tasks(database, 3)
    dying = asyncio.create_task(teller(pool, counter, hang).sweep())
    async with asyncio.timeout(20):
        await telling.wait()
    dying.cancel()
    await asyncio.wait([dying])
    next_one = teller(pool, counter, heard.append)
    assert await next_one.sweep() == 0
    pass_seconds(database, RETRY_SECONDS)
    assert await next_one.sweep() == 1
    assert len(heard) == 2
    assert heard[0] == heard[1]
