"""A worker ends every task it starts exactly once, with its money, whatever its handler does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import msgspec
import psycopg
import pytest

from domain.errors import LeaseLost
from tallystick.handler import Context, Handler, TaskFailure, handler
from tests.integration.bus import CREDITS, END_SECONDS_MAX, ORIGIN, Bench, ended, opened, working

PRICE = 7


class Ask(msgspec.Struct, frozen=True):
    word: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    word: str
    number: float = 0.0
    words: tuple[str, ...] = ()


@handler("echo", price_credits=PRICE)
async def echo(ask: Ask, context: Context) -> Reply:
    return Reply(ask.word)


@handler("staged", price_credits=PRICE, stages={"metadata": 10, "upload": 40})
async def staged(ask: Ask, context: Context) -> Reply:
    await context.stage("metadata")
    await context.stage("upload")
    if ask.word:
        raise TaskFailure("param_error", ask.word)
    return Reply("done")


@handler("raising", price_credits=PRICE)
async def raising(ask: Ask, context: Context) -> Reply:
    message = f"secret internals of {ask.word}"
    raise KeyError(message)


@handler("hanging", price_credits=PRICE, attempt_seconds_max=1, attempts_max=1)
async def hanging(ask: Ask, context: Context) -> Reply:
    await asyncio.Event().wait()
    return Reply("never")


@handler("waiting", price_credits=PRICE)
async def waiting(ask: Ask, context: Context) -> Reply:
    while True:
        await context.progress(50, "half way", completed=1, total=2)
        await asyncio.sleep(0.02)


@handler("threaded", price_credits=PRICE, stages={"half": 50})
def threaded(ask: Ask, context: Context) -> Reply:
    context.stage("half")  # type: ignore[unused-coroutine] # in a thread it waits by itself
    return Reply(threading.current_thread().name)


@handler("dirty", price_credits=PRICE)
async def dirty(ask: Ask, context: Context) -> Reply:
    return Reply("a\x00b\ud800c", float("nan"))


@handler("mistyped", price_credits=PRICE)
async def mistyped(ask: Ask, context: Context) -> Reply:
    return "not a Reply"  # type: ignore[return-value]


@handler("huge", price_credits=PRICE)
async def huge(ask: Ask, context: Context) -> Reply:
    return Reply("", words=tuple(["x" * 2_000] * 500))


HANDLERS: list[Handler] = [
    echo,
    staged,
    raising,
    hanging,
    waiting,
    threaded,
    dirty,
    mistyped,
    huge,
]
CHARGED = (CREDITS - PRICE, 0, PRICE)
UNCHARGED = (CREDITS, 0, 0)
HELD = (CREDITS - PRICE, PRICE, 0)
BLOCKED_LEASE_SECONDS = 0.8
LEASES_BLOCKED = 3
LEASES_OF_START = (
    "SELECT extract(epoch FROM clock_timestamp() - (data ->> 'started_at')::timestamptz)"
    " / %s::float8 FROM tasks WHERE id = %s"
)
"""How many leases long its attempt has been at work."""


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, HANDLERS) as made:
        yield made


async def test_a_completed_task_keeps_its_result_and_is_charged(bench: Bench) -> None:
    task_id = await bench.submit("echo", {"word": "hello"})
    assert bench.money() == HELD
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert (task.status, task.attempt, task.percent) == ("completed", 1, 100)
    assert (task.credits_held, task.credits_charged, task.credits_released) == (0, PRICE, 0)
    assert bench.result(task_id) == {"word": "hello"}
    assert bench.money() == CHARGED
    assert bench.topics(task_id) == ["task.submitted", "task.started", "task.completed"]


async def test_stages_are_facts_and_a_failure_names_the_last(bench: Bench) -> None:
    task_id = await bench.submit("staged", {"word": "No such film."})
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert task.failure is not None
    assert (task.failure.type, task.failure.stage) == ("param_error", "upload")
    assert task.failure.message == "No such film."
    assert bench.topics(task_id)[2:] == [*["task.stage_reached"] * 2, "task.failed"]
    assert bench.money() == UNCHARGED


@pytest.mark.parametrize(
    ("type_", "task_input", "failure_type"),
    [
        ("raising", {"word": "x"}, "internal"),
        ("hanging", {}, "timeout"),
        ("mistyped", {}, "internal"),
        ("huge", {}, "internal"),
    ],
)
async def test_every_failure_is_recorded_once_and_refunded(
    bench: Bench, type_: str, task_input: object, failure_type: str
) -> None:
    task_id = await bench.submit(type_, task_input)
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert task.status == "failed"
    assert task.failure is not None
    assert task.failure.type == failure_type
    assert "secret" not in task.failure.message
    assert bench.topics(task_id).count("task.failed") == 1
    assert (task.credits_held, task.credits_released) == (0, PRICE)
    assert bench.money() == UNCHARGED


async def test_operators_see_the_whole_cause(bench: Bench) -> None:
    task_id = await bench.submit("raising", {"word": "x"})
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert task.failure is not None
    assert "KeyError: 'secret internals of x'" in task.failure.detail


async def test_results_are_cleaned_before_they_are_stored(bench: Bench) -> None:
    task_id = await bench.submit("dirty")
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert task.status == "completed"
    result = bench.result(task_id)
    assert isinstance(result, dict)
    assert result["number"] is None
    assert result["word"].startswith("a")
    assert "\x00" not in result["word"]


async def test_a_threads_handler_reaches_stages_from_its_thread(bench: Bench) -> None:
    task_id = await bench.submit("threaded")
    async with working(bench.worker()):
        task = await ended(bench, task_id)
    assert task.status == "completed"
    assert bench.result(task_id) != {"word": "MainThread"}
    assert "task.stage_reached" in bench.topics(task_id)


async def test_an_input_that_no_longer_fits_its_type_fails_once(bench: Bench) -> None:
    task_id = await bench.submit("echo", {"word": "x"})
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        # As if the type's schema had changed after the task was submitted.
        connection.execute(
            "UPDATE tallystick_events SET state = convert_to(replace("
            "convert_from(state, 'UTF8'), '\"word\":\"x\"', '\"word\":17'), 'UTF8')"
            " WHERE originator_id = %s",
            (task_id,),
        )
    await bench.committer.close()
    async with opened(bench.dsn, HANDLERS) as other, working(other.worker()):
        task = await ended(bench, task_id)
    assert task.failure is not None
    assert (task.failure.type, task.attempt) == ("param_error", 1)


async def test_cancelling_a_queued_task_gives_everything_back(bench: Bench) -> None:
    task_id = await bench.submit("echo")
    await bench.bus.cancel(task_id, bench.account_id, reason="changed my mind", origin=ORIGIN)
    assert bench.task(task_id).status == "cancelled"
    assert bench.money() == UNCHARGED


async def test_a_running_task_hears_that_it_is_cancelled(bench: Bench) -> None:
    task_id = await bench.submit("waiting")
    async with working(bench.worker()):
        async with asyncio.timeout(20):
            while bench.row("SELECT percent FROM tasks WHERE id = %s", task_id) != (50,):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert bench.row(
            "SELECT message, progress_completed, progress_total FROM tasks WHERE id = %s", task_id
        ) == ("half way", 1, 2)
        await bench.bus.cancel(task_id, bench.account_id, reason="", origin=ORIGIN)
        task = await ended(bench, task_id)
    assert task.status == "cancelled"
    assert bench.money() == UNCHARGED
    assert bench.topics(task_id)[-2:] == ["task.cancel_requested", "task.cancelled"]


async def test_stopping_hands_back_what_cannot_finish(bench: Bench) -> None:
    task_id = await bench.submit("waiting")
    async with working(bench.worker(grace_seconds=0.1)), asyncio.timeout(20):
        while bench.task(task_id).status != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    task = bench.task(task_id)
    assert (task.status, task.worker) == ("queued", None)
    assert bench.money() == HELD
    assert bench.topics(task_id)[-1] == "task.released"


async def test_stopping_lets_finish_what_can(bench: Bench) -> None:
    task_ids = [await bench.submit("staged") for _ in range(20)]
    async with working(bench.worker()), asyncio.timeout(20):
        while bench.task(task_ids[0]).status == "queued":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    states = {bench.task(task_id).status for task_id in task_ids}
    assert states <= {"completed", "queued"}


async def test_a_zombie_is_refused_after_its_lease_has_passed_on(database: str) -> None:
    async with opened(database, HANDLERS, lease_seconds=0.2) as bench:
        task_id = await bench.submit("echo")
        [first] = await bench.attempts.claim("zombie", ["echo"], 1)
        async with asyncio.timeout(20):
            while await bench.bus.rescue(10) == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        [second] = await bench.attempts.claim("heir", ["echo"], 1)
        assert second.token > first.token
        with pytest.raises(LeaseLost):
            await bench.attempts.complete(
                task_id,
                bench.account_id,
                token=first.token,
                result=msgspec.Raw(b"{}"),
                worker="zombie",
            )
        await bench.attempts.complete(
            task_id, bench.account_id, token=second.token, result=msgspec.Raw(b"{}"), worker="heir"
        )
        assert bench.task(task_id).status == "completed"
        assert bench.money() == CHARGED


async def test_a_task_that_stalls_too_often_fails_and_is_refunded(database: str) -> None:
    async with opened(database, HANDLERS, lease_seconds=0.1) as bench:
        task_id = await bench.submit("echo")
        async with asyncio.timeout(30):
            while not bench.task(task_id).ended:
                await bench.attempts.claim("dying", ["echo"], 1)
                await bench.bus.rescue(10)
                await asyncio.sleep(0.02)
        task = bench.task(task_id)
        assert task.failure is not None
        assert (task.failure.type, task.attempt) == ("stalled", 4)
        assert bench.money() == UNCHARGED


async def test_a_live_lease_is_never_rescued(bench: Bench) -> None:
    await bench.submit("echo")
    await bench.attempts.claim("alive", ["echo"], 1)
    assert await bench.bus.rescue(10) == 0


async def test_two_claims_at_once_share_nothing(bench: Bench) -> None:
    for _ in range(10):
        await bench.submit("echo")
    claims = await asyncio.gather(*(bench.attempts.claim(f"w{n}", ["echo"], 6) for n in range(3)))
    claimed = [task.id for tasks in claims for task in tasks]
    assert len(claimed) == len(set(claimed)) == 10


async def test_an_end_is_recorded_through_a_lost_connection(bench: Bench) -> None:
    task_ids = [await bench.submit("staged") for _ in range(50)]
    async with working(bench.worker()):
        for _ in range(5):
            bench.row(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'tallystick committer'"
            )
            await asyncio.sleep(0.05)
        for task_id in task_ids:
            assert (await ended(bench, task_id)).status == "completed"
    assert bench.money() == (CREDITS - 50 * PRICE, 0, 50 * PRICE)
    assert all(bench.topics(task_id).count("task.completed") == 1 for task_id in task_ids)


async def test_a_failed_task_runs_again_with_a_new_hold(bench: Bench) -> None:
    task_id = await bench.submit("raising")
    async with working(bench.worker()):
        first = await ended(bench, task_id)
    await bench.bus.retry(task_id, bench.account_id, origin=ORIGIN)
    again = bench.task(task_id)
    assert (again.status, again.run, again.attempt, again.failure) == ("queued", 2, 0, None)
    assert again.hold_id != first.hold_id
    assert bench.money() == HELD


async def test_a_worker_that_takes_over_from_itself_holds_both_attempts_apart(
    database: str,
) -> None:
    """The attempt that is lost winds down in its own time, and takes nothing of the next along."""
    winding, wound = asyncio.Event(), asyncio.Event()

    @handler("reluctant", price_credits=PRICE)
    async def reluctant(ask: Ask, context: Context) -> Reply:
        if context.attempt > 1:
            await wound.wait()
            return Reply("second")
        try:
            await asyncio.Event().wait()
        finally:
            winding.set()
            await asyncio.sleep(0.3)
        return Reply("first")

    async with opened(database, [reluctant]) as bench:
        task_id = await bench.submit("reluctant")
        async with working(bench.worker(tasks_max=2)) as worker:
            async with asyncio.timeout(20):
                while await bench.bus.rescue(10) == 0:
                    # A heartbeat may come in between.
                    bench.row(
                        "WITH lapsed AS (UPDATE tasks SET lease_until = now() - interval '1 s'"
                        " WHERE status = 'running') SELECT 1"
                    )
                await winding.wait()
                while worker.held != 1 or bench.task(task_id).token != 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            wound.set()
            task = await ended(bench, task_id)
        assert (task.status, task.attempt) == ("completed", 2)
        assert bench.money() == CHARGED


async def test_a_handler_that_blocks_its_thread_for_several_leases_keeps_its_own(
    database: str,
) -> None:
    """A7, B8: heartbeats do not wait for the handler, by the database's clock."""
    begun, go = threading.Event(), threading.Event()

    @handler("blocking", price_credits=PRICE)
    def blocking(ask: Ask, context: Context) -> Reply:
        begun.set()
        assert go.wait(END_SECONDS_MAX)
        return Reply("at last")

    async with opened(database, [blocking], lease_seconds=BLOCKED_LEASE_SECONDS) as bench:
        task_id = await bench.submit("blocking")
        async with working(bench.worker()), asyncio.timeout(END_SECONDS_MAX):
            assert await asyncio.to_thread(begun.wait, END_SECONDS_MAX)
            while bench.row(LEASES_OF_START, BLOCKED_LEASE_SECONDS, task_id)[0] < LEASES_BLOCKED:
                assert await bench.bus.rescue(10) == 0
                await asyncio.sleep(0.02)
            go.set()
            task = await ended(bench, task_id)
        assert (task.status, task.attempt, task.stalls) == ("completed", 1, 0)
        assert bench.money() == CHARGED


async def test_a_task_of_a_narrow_type_starts_when_the_one_before_it_ends(database: str) -> None:
    """No wake-up tells of it, and the next poll is far away."""

    @handler("narrow", price_credits=PRICE, running_tasks_max=1)
    async def narrow(ask: Ask, context: Context) -> Reply:
        await asyncio.sleep(0.01)
        return Reply("done")

    async with opened(database, [narrow]) as bench:
        task_ids = [await bench.submit("narrow") for _ in range(5)]
        async with working(bench.worker(poll_seconds=3_600)):
            tasks = [await ended(bench, task_id) for task_id in task_ids]
        assert {task.status for task in tasks} == {"completed"}
