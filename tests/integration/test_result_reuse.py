"""Same input, young result: the task takes it over in the append that submits it, at its price."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from msgspec import Raw

from adapters import reusable_results
from adapters.pool import fetch
from adapters.reusable_results import ReusableResults
from adapters.sql import statement
from domain.errors import InsufficientCredits, LimitReached
from service import result_reuse
from service.identifiers import new_id
from service.submission import Submission
from tallystick.handler import Context, Handler, TaskFailure, handler
from tests.integration.bus import CREDITS, ORIGIN, Bench, ended, opened, working

PRICE = 7
CACHE_SECONDS = 3_600


class Ask(msgspec.Struct, frozen=True):
    word: str = ""


class Reply(msgspec.Struct, frozen=True):
    word: str
    number: int = 0


def counted(name: str, **options: Any) -> Handler:
    """Says how often it was called, so that a result tells which call it is of."""
    calls = 0

    @handler(name, **{"price_credits": PRICE, "cache_seconds": CACHE_SECONDS, **options})
    async def function(ask: Ask, context: Context) -> Reply:
        nonlocal calls
        calls += 1
        if ask.word == "fails":
            raise TaskFailure("param_error", "No.")
        return Reply(ask.word, calls)

    return function


def handlers() -> list[Handler]:
    return [
        counted("full"),
        counted("half", cache_price_percent=50),
        counted("free", cache_price_percent=0),
        counted("shared", cache_scope="everyone"),
        counted("picky", cache_when=lambda reply: reply.number > 1),
        counted("torn", cache_when=lambda reply: reply.number / 0 > 1),
        counted("keyless", cache_key=lambda _: None),
        counted("off", cache_seconds=None),
    ]


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, handlers()) as made:
        yield made


async def worked(bench: Bench, type_: str, task_input: object = None, **fields: Any) -> UUID:
    """A task that a worker has ended."""
    task_id = await bench.submit(type_, task_input, **fields)
    async with working(bench.worker()):
        await ended(bench, task_id)
    return task_id


def age(bench: Bench, task_id: UUID, seconds: float) -> None:
    """Make a result older by the database's clock, as time does."""
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE tasks SET ended_at = ended_at - make_interval(secs => %s) WHERE id = %s",
            (seconds, task_id),
        )


async def another_account(bench: Bench, credits_: int) -> UUID:
    account_id = new_id()
    await bench.bus.open_account(account_id, plan="standard", name=None, origin=ORIGIN)
    if credits_:
        await bench.bus.grant(
            account_id, amount=credits_, kind="paid", source_ref="1", reason="", origin=ORIGIN
        )
    return account_id


async def submitted_by(
    bench: Bench, account_id: UUID, type_: str, task_input: object = None
) -> UUID:
    bench.account_id = account_id
    return await bench.submit(type_, task_input)


async def test_a_young_result_is_taken_over_in_one_append(bench: Bench) -> None:
    first = await worked(bench, "full", {"word": "a"})
    second = await bench.submit("full", {"word": "a"})
    task = bench.task(second)
    assert (task.status, task.reused_from, task.attempt) == ("completed", first, 0)
    assert (task.credits_held, task.credits_charged) == (0, PRICE)
    assert bench.result(second) == bench.result(first) == {"word": "a", "number": 1}
    assert bench.topics(second) == ["task.submitted", "task.completed"]
    assert bench.money() == (CREDITS - 2 * PRICE, 0, 2 * PRICE)
    positions = bench.row(
        "SELECT array_agg(notification_id ORDER BY notification_id), array_agg(topic ORDER BY"
        " notification_id) FROM (SELECT * FROM tallystick_events ORDER BY notification_id DESC"
        " LIMIT 4) AS last"
    )
    assert positions[0] == list(range(positions[0][0], positions[0][0] + 4))
    assert [topic.removesuffix(".v1") for topic in positions[1]] == [
        "task.submitted", "credits.held", "task.completed", "credits.captured",
    ]  # fmt: skip


async def test_another_input_type_or_account_is_worked_on(bench: Bench) -> None:
    await worked(bench, "full", {"word": "a"})
    others = [
        await bench.submit("full", {"word": "b"}),
        await bench.submit("half", {"word": "a"}),
        await submitted_by(bench, await another_account(bench, 100), "full", {"word": "a"}),
    ]
    assert {bench.task(task_id).status for task_id in others} == {"queued"}


async def test_everyone_gets_what_a_shared_type_made(bench: Bench) -> None:
    first = await worked(bench, "shared")
    stranger = await another_account(bench, 100)
    second = await submitted_by(bench, stranger, "shared")
    assert bench.task(second).reused_from == first
    assert bench.money() == (100 - PRICE, 0, PRICE)


async def test_a_result_is_taken_until_it_is_too_old(bench: Bench) -> None:
    first = await worked(bench, "full")
    age(bench, first, CACHE_SECONDS - 60)
    assert bench.task(await bench.submit("full")).reused_from == first
    age(bench, first, 61)
    assert bench.task(await bench.submit("full")).reused_from is None


async def test_a_process_whose_clock_is_slow_reuses_nothing_old(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own time would make the result young for ever."""
    first = await worked(bench, "full")
    age(bench, first, CACHE_SECONDS + 1)
    long_ago = bench.task(first).created_at - timedelta(days=2)
    monkeypatch.setattr(bench.committer._decider._clock, "now", lambda: long_ago)
    assert bench.task(await bench.submit("full")).reused_from is None


async def test_age_counts_from_the_task_that_did_the_work(bench: Bench) -> None:
    """Or a result that is asked for often enough would live for ever."""
    first = await worked(bench, "full")
    age(bench, first, CACHE_SECONDS - 60)
    second = await bench.submit("full")
    third = await bench.submit("full")
    assert (bench.task(second).reused_from, bench.task(third).reused_from) == (first, first)
    age(bench, first, 61)
    assert bench.task(await bench.submit("full")).status == "queued"


@pytest.mark.parametrize(("type_", "charged"), [("full", 7), ("half", 3), ("free", 0)])
async def test_a_reused_result_costs_what_its_type_says(
    bench: Bench, type_: str, charged: int
) -> None:
    await worked(bench, type_)
    second = await bench.submit(type_)
    assert bench.task(second).credits_charged == charged
    assert bench.money() == (CREDITS - PRICE - charged, 0, PRICE + charged)


async def test_the_newest_result_is_taken(bench: Bench) -> None:
    first = await worked(bench, "full")
    newest = await worked(bench, "full", cache=False)
    assert bench.task(newest).reused_from is None
    age(bench, first, 1)
    assert bench.task(await bench.submit("full")).reused_from == newest


async def test_who_asks_for_work_gets_work(bench: Bench) -> None:
    await worked(bench, "full")
    again = await bench.submit("full", cache=False)
    assert bench.task(again).status == "queued"


async def test_a_task_for_later_is_worked_on_then(bench: Bench) -> None:
    await worked(bench, "full")
    (later,) = bench.row("SELECT clock_timestamp() + interval '1 hour'")
    assert bench.task(await bench.submit("full", not_before=later)).status == "queued"


async def test_failures_and_cancellations_are_no_results(bench: Bench) -> None:
    await worked(bench, "full", {"word": "fails"})
    queued = await bench.submit("full", {"word": "cancelled"})
    await bench.bus.cancel(queued, bench.account_id, reason="", origin=ORIGIN)
    for word in ("fails", "cancelled"):
        assert bench.task(await bench.submit("full", {"word": word})).status == "queued"


async def test_types_and_inputs_without_a_key_are_always_worked_on(bench: Bench) -> None:
    for type_ in ("off", "keyless"):
        await worked(bench, type_)
        assert bench.task(await bench.submit(type_)).status == "queued"


async def test_a_type_may_hold_a_result_for_not_worth_taking(bench: Bench) -> None:
    await worked(bench, "picky")
    better = await worked(bench, "picky")
    assert bench.task(better).reused_from is None
    assert bench.task(await bench.submit("picky")).reused_from == better


async def test_a_check_that_raises_costs_the_reuse_and_not_the_task(bench: Bench) -> None:
    await worked(bench, "torn")
    assert bench.task(await bench.submit("torn")).status == "queued"


async def test_a_result_of_an_older_form_is_not_taken(bench: Bench) -> None:
    first = await worked(bench, "full")
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE tasks SET result = %s::json WHERE id = %s", ('{"word": 17}', first)
        )
    assert bench.task(await bench.submit("full")).status == "queued"


async def test_nothing_is_had_without_credits_or_room(bench: Bench) -> None:
    for type_ in ("shared", "full"):
        await worked(bench, type_)
    poor = await another_account(bench, PRICE - 1)
    with pytest.raises(InsufficientCredits):
        await submitted_by(bench, poor, "shared")
    busy = await another_account(bench, 100)
    for _ in range(10):
        await submitted_by(bench, busy, "off")
    with pytest.raises(LimitReached):
        await submitted_by(bench, busy, "shared")


async def test_what_costs_nothing_is_had_without_credits(bench: Bench) -> None:
    await worked(bench, "free")
    for _ in range(CREDITS // PRICE - 1):
        await bench.submit("off")
    assert bench.money()[0] < PRICE
    assert bench.task(await bench.submit("free")).status == "completed"


async def test_many_are_looked_up_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await worked(bench, "half", {"word": "a"})
    looks = count_looks(monkeypatch)
    submissions = [
        Submission(
            task_id=new_id(),
            account_id=bench.account_id,
            type=type_,
            input=Raw(msgspec.json.encode({"word": word})),
        )
        for type_, word in [("half", "a"), ("half", "b"), ("off", "a"), ("half", "a")]
    ]
    await bench.bus.submit_many(bench.account_id, submissions, origin=ORIGIN)
    tasks = [bench.task(submission.task_id) for submission in submissions]
    assert [task.reused_from for task in tasks] == [first, None, None, first]
    assert [task.credits_charged + task.credits_held for task in tasks] == [3, PRICE, PRICE, 3]
    assert bench.money() == (CREDITS - 3 * PRICE - 6, 2 * PRICE, PRICE + 6)
    assert len(looks) == 1


async def test_a_type_without_a_cache_costs_no_query(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch)
    for submission in (("off", True), ("keyless", True), ("full", False)):
        await bench.submit(submission[0], cache=submission[1])
    assert looks == []
    await bench.submit("full")
    assert len(looks) == 1


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    looks: list[object] = []

    async def counting(*given: Any) -> Any:
        looks.append(given)
        return await fetch(*given)

    monkeypatch.setattr(reusable_results, "fetch", counting)
    return looks


async def test_what_one_submission_takes_over_is_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worked(bench, "full", {"word": "a"})
    await worked(bench, "full", {"word": "b"})
    size = len('{"word":"a","number":1}')
    submissions = [
        Submission(
            task_id=new_id(),
            account_id=bench.account_id,
            type="full",
            input=Raw(msgspec.json.encode({"word": word})),
        )
        for word in ("a", "a", "a", "b")
    ]
    monkeypatch.setattr(result_reuse, "FOUND_BYTES_MAX", 2 * size)
    monkeypatch.setattr(reusable_results, "FOUND_BYTES_MAX", 2 * size)
    await bench.bus.submit_many(bench.account_id, submissions, origin=ORIGIN)
    statuses = [bench.task(submission.task_id).status for submission in submissions]
    assert statuses == ["completed", "completed", "queued", "queued"]


async def test_a_look_brings_no_more_than_it_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("a", "b"):
        await worked(bench, "full", {"word": word})
    with psycopg.connect(bench.dsn) as connection:
        rows = connection.execute("SELECT content_key FROM tasks ORDER BY id").fetchall()
    wanted = {key: 60.0 for (key,) in rows}
    results = ReusableResults(bench.pool)
    assert set(await results.newest(wanted)) == set(wanted)
    monkeypatch.setattr(reusable_results, "FOUND_BYTES_MAX", len('{"word":"a","number":1}') + 1)
    assert set(await results.newest(wanted)) == {rows[0][0]}


async def test_equal_submissions_at_one_time_are_all_worked_on(bench: Bench) -> None:
    """Nobody waits for another's result: the cache knows finished ones only."""
    task_ids = await asyncio.gather(*(bench.submit("full") for _ in range(8)))
    async with working(bench.worker()):
        tasks = [await ended(bench, task_id) for task_id in task_ids]
    assert [task.reused_from for task in tasks] == [None] * 8
    after = await asyncio.gather(*(bench.submit("full") for _ in range(8)))
    assert all(bench.task(task_id).reused_from in set(task_ids) for task_id in after)
    assert bench.money() == (CREDITS - 16 * PRICE, 0, 16 * PRICE)


async def test_a_submission_beside_the_completion_is_reused_or_worked_on_once(
    bench: Bench,
) -> None:
    """Whichever way each race goes, each task ends once and is charged once."""
    task_ids: list[UUID] = []
    async with working(bench.worker()):
        for _ in range(5):
            task_ids += await asyncio.gather(*(bench.submit("half") for _ in range(4)))
        tasks = [await ended(bench, task_id) for task_id in task_ids]
    prices = [3 if task.reused_from else PRICE for task in tasks]
    assert [task.credits_charged for task in tasks] == prices
    assert bench.money() == (CREDITS - sum(prices), 0, sum(prices))
    assert all(bench.topics(task_id).count("task.completed") == 1 for task_id in task_ids)


async def test_estimates_are_of_tasks_that_were_worked_on(bench: Bench) -> None:
    first = await worked(bench, "full")
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE tasks SET created_at = ended_at - interval '100 s' WHERE id = %s", (first,)
        )
    for _ in range(3):
        await bench.submit("full")
    medians = await fetch(bench.pool, statement("select_task_durations"), {"tasks": 10})
    assert [(type_, whole) for type_, whole, _ in medians] == [("full", 100.0)]


async def test_the_look_reads_an_index_and_one_row_of_many(bench: Bench) -> None:
    first = await worked(bench, "full")
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        [(key,)] = connection.execute("SELECT content_key FROM tasks").fetchall()
        columns = (
            "version, account_id, type, status, priority, queued_at, token, created_at, turn,"
            " deadline_at, data, input, result, content_key"
        )
        connection.execute(
            f"INSERT INTO tasks (id, ended_at, {columns}) SELECT gen_random_uuid(), ended_at"  # noqa: S608
            " - n * interval '1 s', version, account_id, type, status, priority, queued_at, token,"
            " created_at, turn, deadline_at, data, input, result, CASE WHEN n % 2 = 0 THEN"
            " content_key ELSE n::text END FROM tasks, generate_series(1, 50000) AS n"
        )
        connection.execute("VACUUM ANALYZE tasks")
    nodes = await plan_nodes(bench, key)
    [scan] = [node for node in nodes if node.get("Relation Name") == "tasks"]
    assert (scan["Node Type"], scan["Index Name"]) == ("Index Scan", "tasks_content_idx")
    assert scan["Actual Rows"] == 1
    assert not [node for node in nodes if node["Node Type"] == "Sort" and node is not nodes[0]]
    assert (await ReusableResults(bench.pool).newest({key: 60.0}))[key].task_id == first


async def plan_nodes(bench: Bench, key: str) -> list[dict[str, Any]]:
    """Of the query that is really sent, run and measured."""
    plans: list[Any] = []

    async def explain(pool: Any, query: Any, parameters: Any) -> Any:
        explained = "EXPLAIN (ANALYZE, FORMAT JSON) " + query
        [(plan,)] = await fetch(pool, explained, parameters)
        plans.append(plan[0]["Plan"])
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reusable_results, "fetch", explain)
        await ReusableResults(bench.pool).newest({key: 60.0})
    nodes: list[dict[str, Any]] = []
    while plans:
        node = plans.pop()
        nodes.append(node)
        plans += node.get("Plans", [])
    return nodes
