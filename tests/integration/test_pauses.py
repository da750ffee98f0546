"""Paused types, accounts and providers start nothing, hold up nobody else, and can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest

from adapters.gates import park_tasks, unpark_tasks
from adapters.mapper import EventMapper
from adapters.queue_depth import QueueCounter
from adapters.verification import compare_inline
from adapters.wakeup import QUEUED
from domain.errors import InvalidInput, LimitReached, NotFound, UnknownTaskType
from domain.pause import gate_id
from domain.pause_events import GateKind
from service import gates as service_gates
from service.identifiers import new_id
from tests.integration.bus import ORIGIN, Bench
from tests.integration.gated_tasks import account, finish, gates_of, submit, two_processes


@pytest.fixture
async def benches(database: str) -> AsyncIterator[tuple[Bench, Bench]]:
    async with two_processes(database) as made:
        yield made


@pytest.fixture
def bench(benches: tuple[Bench, Bench]) -> Bench:
    return benches[0]


async def _pause(bench: Bench, kind: GateKind, name: str, reason: str = "why not") -> int:
    """How many facts it added to the log."""
    done = await gates_of(bench).pause(kind, name, reason=reason, origin=ORIGIN)
    return len(done.events)


async def _resume(bench: Bench, kind: GateKind, name: str) -> int:
    done = await gates_of(bench).resume(kind, name, reason="over", origin=ORIGIN)
    return len(done.events)


async def _claimed(bench: Bench, limit: int = 50) -> list[str]:
    """Types of the tasks that a claim starts, in the order of the queue."""
    return [task.type for task in await bench.attempts.claim("w", list(bench.types.names), limit)]


def _parked(bench: Bench) -> tuple[int, int]:
    """Tasks put aside, and tasks that a claim's index holds."""
    query = (
        "SELECT count(*) FILTER (WHERE delayed_until = 'infinity'),"
        " count(*) FILTER (WHERE delayed_until IS NULL) FROM tasks WHERE status = 'queued'"
    )
    parked, claimable = bench.row(query)
    return parked, claimable


async def test_a_paused_type_starts_nothing_in_any_process_and_others_do(
    benches: tuple[Bench, Bench],
) -> None:
    one, other = benches
    await submit(one, "image", 2)
    await submit(one, "video", 2)
    assert await _pause(one, "type", "image") == 1
    assert await _claimed(other) == ["video", "video"]
    assert await _resume(other, "type", "image") == 1
    assert await _claimed(one) == ["image", "image"]


async def test_a_paused_provider_holds_back_all_its_types(bench: Bench) -> None:
    for name in ("image", "video", "free"):
        await submit(bench, name)
    await _pause(bench, "provider", "five")
    assert await _claimed(bench) == ["free"]
    await _resume(bench, "provider", "five")
    assert sorted(await _claimed(bench)) == ["image", "video"]


async def test_a_paused_account_holds_up_no_other(bench: Bench) -> None:
    quiet, busy = await account(bench), await account(bench)
    await submit(bench, "free", 3, account_id=quiet)
    await submit(bench, "free", 3, account_id=busy)
    await _pause(bench, "account", quiet.hex)
    claimed = await bench.attempts.claim("w", ["free"], 50)
    assert [task.account_id for task in claimed] == [busy] * 3
    await _resume(bench, "account", quiet.hex)
    claimed = await bench.attempts.claim("w", ["free"], 50)
    assert [task.account_id for task in claimed] == [quiet] * 3


async def test_what_runs_goes_on_and_comes_back_behind_the_gate(bench: Bench) -> None:
    await submit(bench, "free", 2)
    ends, returns = await bench.attempts.claim("w", ["free"], 2)
    await _pause(bench, "type", "free")
    await finish(bench, ends)
    assert bench.task(ends.id).status == "completed"
    await bench.attempts.release(
        returns.id, returns.account_id, token=returns.token, reason="", worker="w"
    )
    assert await _claimed(bench) == []
    await _resume(bench, "type", "free")
    assert await _claimed(bench) == ["free"]


async def test_pausing_twice_is_one_fact_with_its_reason_and_resuming_is_another(
    benches: tuple[Bench, Bench],
) -> None:
    one, other = benches
    asked = [_pause(benches[n % 2], "type", "free", f"reason {n}") for n in range(10)]
    assert sorted(await asyncio.gather(*asked)) == [0] * 9 + [1]
    [gate] = await gates_of(other).paused()
    assert (gate.kind, gate.name, gate.actor) == ("type", "free", "test")
    assert gate.reason.startswith("reason ")
    asked = [_resume(benches[n % 2], "type", "free") for n in range(10)]
    assert sorted(await asyncio.gather(*asked)) == [0] * 9 + [1]
    assert await gates_of(one).paused() == []
    assert one.topics(gate_id("type", "free")) == ["queue.paused", "queue.resumed"]
    assert (await compare_inline(one.dsn, EventMapper())).differences == ()


async def test_what_was_never_paused_is_quietly_open(bench: Bench) -> None:
    assert await _resume(bench, "type", "nobody knows it") == 0
    assert bench.topics(gate_id("type", "nobody knows it")) == []


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        ("type", "unheard", UnknownTaskType),
        ("provider", "unheard", NotFound),
        ("account", new_id().hex, NotFound),
        ("account", "no id", NotFound),
        ("account", f"{{{new_id()}}}", NotFound),
    ],
    ids=["type", "provider", "account", "no id", "an id in another form"],
)
async def test_what_is_not_there_cannot_be_paused(
    bench: Bench, kind: GateKind, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await _pause(bench, kind, name)
    assert await gates_of(bench).paused() == []


async def test_a_pause_needs_a_reason(bench: Bench) -> None:
    with pytest.raises(InvalidInput):
        await _pause(bench, "type", "free", " ")
    assert await _claimed(bench) == []
    assert bench.topics(gate_id("type", "free")) == []


async def test_no_more_gates_are_paused_than_may_be(
    benches: tuple[Bench, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_gates, "PAUSED_GATES_MAX", 2)
    names = ["free", "image", "video", "beat"]
    asked = [_pause(benches[n % 2], "type", name) for n, name in enumerate(names)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(outcome == 1 for outcome in outcomes) == 2
    assert sum(isinstance(outcome, LimitReached) for outcome in outcomes) == 2
    [first, _] = await gates_of(benches[0]).paused()
    assert await _pause(benches[0], "type", first.name) == 0
    await _resume(benches[0], "type", first.name)
    assert await _pause(benches[0], "type", "sing") == 1


async def test_workers_are_woken_by_a_resumption(bench: Bench) -> None:
    await submit(bench, "free")
    await _pause(bench, "type", "free")
    async with await psycopg.AsyncConnection.connect(bench.dsn, autocommit=True) as listener:
        await listener.execute("LISTEN tallystick_events")
        await _resume(bench, "type", "free")
        payloads = [n.payload async for n in listener.notifies(timeout=20, stop_after=1)]
    assert QUEUED in payloads


async def _bulk(bench: Bench, owner: UUID, count: int) -> None:
    for _ in range(count // 1_000):
        await submit(bench, "free", 1_000, account_id=owner)


async def test_tasks_of_a_paused_account_are_put_aside_in_bounded_steps_and_back(
    bench: Bench,
) -> None:
    owner = await account(bench)
    await _bulk(bench, owner, 3_000)
    await submit(bench, "free", 5)
    assert await park_tasks(bench.pool, 1_000) == 0
    await _pause(bench, "account", owner.hex)
    steps = []
    while step := await park_tasks(bench.pool, 1_000):
        steps.append(step)
    assert sum(steps) == 3_000
    assert max(steps) <= 1_000
    assert _parked(bench) == (3_000, 5)
    assert await unpark_tasks(bench.pool, 1_000) == 0
    assert await _claimed(bench) == ["free"] * 5
    await _resume(bench, "account", owner.hex)
    assert [await unpark_tasks(bench.pool, 1_000) for _ in range(4)] == [1_000, 1_000, 1_000, 0]
    assert _parked(bench) == (0, 3_000)
    assert len(await _claimed(bench, 100)) == 100
    assert (await compare_inline(bench.dsn, EventMapper())).differences == ()


async def test_tasks_of_a_paused_account_are_counted_as_paused_and_are_no_backlog(
    bench: Bench,
) -> None:
    owner = await account(bench)
    await submit(bench, "free", 3, account_id=owner)
    await submit(bench, "free", 2)
    assert await _counted(bench) == [("free", 5, 0, 0)]
    await _pause(bench, "account", owner.hex)
    await park_tasks(bench.pool, 10)
    assert await _counted(bench) == [("free", 2, 3, 0)]
    await _pause(bench, "type", "free")
    assert await _counted(bench) == [("free", 0, 5, 0)]
    await _resume(bench, "type", "free")
    await _resume(bench, "account", owner.hex)
    await unpark_tasks(bench.pool, 10)
    assert await _counted(bench) == [("free", 5, 0, 0)]


async def _counted(bench: Bench) -> list[tuple[str, int, int, int]]:
    """Of each type: waiting, paused, delayed."""
    counter = QueueCounter(bench.pool)
    try:
        depths = (await counter.count()).depths
    finally:
        await counter.close()
    return [(depth.type, depth.waiting, depth.paused, depth.delayed) for depth in depths]


async def test_putting_aside_looks_at_no_more_than_the_head_of_each_type(bench: Bench) -> None:
    owner = await account(bench)
    await submit(bench, "free", 30)
    await submit(bench, "free", 30, account_id=owner, priority="low")
    await submit(bench, "image", 30, account_id=owner)
    await _pause(bench, "account", owner.hex)
    assert await park_tasks(bench.pool, 30) == 30
    assert await park_tasks(bench.pool, 30) == 0
    assert _parked(bench) == (30, 60)


async def test_what_others_have_put_off_for_good_stays_so(bench: Bench) -> None:
    """Only what was put aside for a pause comes back when it is over."""
    owner = await account(bench)
    [kept] = await submit(bench, "free", account_id=owner)
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE tasks SET delayed_until = 'infinity' WHERE id = %s", (kept,))
    await _pause(bench, "account", owner.hex)
    assert await park_tasks(bench.pool, 10) == 0
    await _resume(bench, "account", owner.hex)
    assert await unpark_tasks(bench.pool, 10) == 0
    assert await _claimed(bench) == []


async def test_a_task_put_aside_can_be_cancelled_and_is_found_past_its_deadline(
    bench: Bench,
) -> None:
    owner = await account(bench)
    cancelled, late = await submit(bench, "free", 2, account_id=owner)
    await _pause(bench, "account", owner.hex)
    assert await park_tasks(bench.pool, 10) == 2
    await bench.bus.cancel(cancelled, owner, reason="", origin=ORIGIN)
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE tasks SET deadline_at = now() - interval '1 day' WHERE id = %s", (late,)
        )
    assert bench.task(cancelled).status == "cancelled"
    assert await bench.bus.expire(10) == 1
    assert await unpark_tasks(bench.pool, 10) == 0
