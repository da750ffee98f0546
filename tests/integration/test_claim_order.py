"""Claims: priority first, accounts in turn within it, and never more of a type than may run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest
from msgspec import Raw

from adapters.queue import wake_delayed
from service.identifiers import new_id
from service.submission import Submission
from tallystick.handler import Context, handler
from tests.integration.bus import ORIGIN, Bench, opened
from tests.plans import PLANS


class Ask(msgspec.Struct, frozen=True):
    n: int = 0


class Reply(msgspec.Struct, frozen=True):
    n: int = 0


@handler("free", price_credits=0)
async def free(ask: Ask, context: Context) -> Reply:
    return Reply()


@handler("narrow", price_credits=0, running_tasks_max=3)
async def narrow(ask: Ask, context: Context) -> Reply:
    return Reply()


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, [free, narrow]) as made:
        yield made


async def _account(bench: Bench, plan: str = "unlimited") -> UUID:
    account_id = new_id()
    await bench.bus.open_account(account_id, plan=plan, name=None, origin=ORIGIN)
    return account_id


async def _submit(bench: Bench, account_id: UUID, count: int = 1, **fields: object) -> list[UUID]:
    made = [
        Submission(
            task_id=new_id(),
            account_id=account_id,
            input=Raw(b"{}"),
            **{"type": "free", **fields},  # type: ignore[arg-type]
        )
        for _ in range(count)
    ]
    await bench.bus.submit_many(account_id, made, origin=ORIGIN)
    return [submission.task_id for submission in made]


async def _owners(bench: Bench, limit: int) -> list[UUID]:
    return [task.account_id for task in await bench.attempts.claim("w", ["free"], limit)]


async def test_one_accounts_ten_thousand_do_not_starve_anothers_one(bench: Bench) -> None:
    many, one = await _account(bench), await _account(bench)
    for _ in range(10):
        await _submit(bench, many, 1_000)
    assert set(await _owners(bench, 100)) == {many}
    await _submit(bench, one)
    assert (await _owners(bench, 100))[0] == one


async def test_accounts_take_turns(bench: Bench) -> None:
    a, b, c = [await _account(bench) for _ in range(3)]
    for account, count in ((a, 30), (b, 30), (c, 30)):
        await _submit(bench, account, count)
    owners = await _owners(bench, 30)
    assert [owners.count(account) for account in (a, b, c)] == [10, 10, 10]


async def test_an_idle_account_saves_up_no_turns(bench: Bench) -> None:
    idle, busy = await _account(bench), await _account(bench)
    await _submit(bench, busy, 50)
    assert len(await _owners(bench, 40)) == 40
    await _submit(bench, idle, 50)
    owners = await _owners(bench, 20)
    assert 9 <= owners.count(busy) <= 11


async def test_a_heavier_plan_has_more_turns(bench: Bench) -> None:
    weight = PLANS["enterprise"].weight
    light, heavy = await _account(bench), await _account(bench, "enterprise")
    # Raised by its plan, so the other must ask for more to be in the same line.
    await _submit(bench, light, 100, priority="high")
    await _submit(bench, heavy, 100, priority="normal")
    owners = await _owners(bench, 10 * (weight + 1))
    assert abs(owners.count(heavy) - weight * owners.count(light)) <= weight


async def test_priority_goes_before_turns(bench: Bench) -> None:
    account = await _account(bench)
    names = ["low", "critical", "normal", "high"]
    for name in names:
        await _submit(bench, account, 2, priority=name)
    claimed = await bench.attempts.claim("w", ["free"], 8)
    assert [task.priority for task in claimed] == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_a_requeued_task_keeps_its_turn(bench: Bench) -> None:
    account = await _account(bench)
    first, second, _ = await _submit(bench, account, 3)
    [claimed] = await bench.attempts.claim("w", ["free"], 1)
    assert claimed.id == first
    await bench.attempts.release(first, account, token=claimed.token, reason="", worker="w")
    assert [task.id for task in await bench.attempts.claim("w", ["free"], 2)] == [first, second]


async def test_no_more_of_a_type_run_than_may_over_all_workers(bench: Bench) -> None:
    account = await _account(bench)
    await _submit(bench, account, 10, type="narrow")
    claims = await asyncio.gather(*(bench.attempts.claim(f"w{n}", ["narrow"], 2) for n in range(5)))
    running = [task for claim in claims for task in claim]
    assert len(running) == 3
    assert await bench.attempts.claim("late", ["narrow"], 5) == []
    await bench.attempts.complete(
        running[0].id, account, token=running[0].token, result=Raw(b"{}"), worker="w"
    )
    assert len(await bench.attempts.claim("late", ["narrow"], 5)) == 1


async def test_a_full_type_does_not_hold_up_another(bench: Bench) -> None:
    account = await _account(bench)
    await _submit(bench, account, 10, type="narrow", priority="critical")
    await _submit(bench, account, 10, priority="low")
    claimed = await bench.attempts.claim("w", ["narrow", "free"], 10)
    assert [task.type for task in claimed] == ["narrow"] * 3 + ["free"] * 7


async def test_a_delayed_task_waits_for_its_time(bench: Bench) -> None:
    account = await _account(bench)
    later = datetime.now(UTC) + timedelta(hours=1)  # noqa: TID251
    [task_id] = await _submit(bench, account, not_before=later)
    assert await bench.attempts.claim("w", ["free"], 1) == []
    assert await wake_delayed(bench.pool, 10) == 0
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE tasks SET delayed_until = now() WHERE id = %s", (task_id,))
    assert await wake_delayed(bench.pool, 10) == 1
    assert len(await bench.attempts.claim("w", ["free"], 1)) == 1


async def test_a_claim_reads_the_head_of_an_index(bench: Bench) -> None:
    account = await _account(bench)
    for _ in range(3):
        await _submit(bench, account, 1_000)
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("ANALYZE tasks")
        plan = connection.execute(
            "EXPLAIN SELECT id FROM tasks WHERE type = 'free' AND status IN ('queued', 'backoff')"
            " AND delayed_until IS NULL ORDER BY priority, turn, id LIMIT 10"
        ).fetchall()
    text = "\n".join(row[0] for row in plan)
    assert "tasks_queue_idx" in text
    assert "Sort" not in text
