"""A10: whatever a handler reports, returns or raises, its task ends at once and nothing else does.

Real worker, real PostgreSQL. Each example is several acts beside one honest task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from domain.failure import FailureType
from domain.task import Task
from tallystick.handler import Context, Handler, TaskCancelled, handler
from tests.integration.bus import Bench, opened
from tests.integration.hostile_acts import KINDS, Act, acts

PRICE = 7
EXAMPLES = settings().max_examples // 5
"""40 in CI, of up to eight acts each; 2,000 nightly."""


class Which(msgspec.Struct, frozen=True):
    number: int = 0


class Anything(msgspec.Struct):
    value: Any = None


class Given:
    """The acts of the example at hand, by number; a handler's input holds JSON only."""

    acts: tuple[Act, ...] = ()


@handler("hostile", price_credits=PRICE, stages={"half": 50}, attempts_max=1, retry_seconds=0.001)
async def hostile(which: Which, context: Context) -> Anything:
    act = Given.acts[which.number]
    for report in act.reports:
        await context.progress(
            report.percent, report.message, completed=report.completed, total=report.total
        )
        # Until a heartbeat has taken it along.
        while context.has_news:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)
    if act.stage is not None:
        await context.stage(act.stage)
    return ended(act)


@handler("threaded", price_credits=PRICE, stages={"half": 50}, attempts_max=1)
def threaded(which: Which, context: Context) -> Anything:
    act = Given.acts[which.number]
    for report in act.reports:
        context.progress(  # type: ignore[unused-coroutine] # in a thread it waits by itself
            report.percent, report.message, completed=report.completed, total=report.total
        )
    if act.stage is not None:
        context.stage(act.stage)  # type: ignore[unused-coroutine]
    return ended(act)


def ended(act: Act) -> Anything:
    if act.error is not None:
        raise act.error
    return Anything(act.value)


@handler("honest", price_credits=PRICE)
async def honest(which: Which, context: Context) -> Anything:
    for percent in range(3):
        await context.progress(percent, "at work")
        await asyncio.sleep(0.02)
    return Anything(which.number)


HANDLERS: list[Handler] = [hostile, threaded, honest]
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def playing(database: str) -> Iterator[tuple[Bench, Run]]:
    """The parts of a process on a loop that outlives one example."""
    with asyncio.Runner() as runner:
        parts = opened(database, HANDLERS)
        bench = runner.run(parts.__aenter__())
        yield bench, runner.run
        runner.run(parts.__aexit__(None, None, None))


EVERY_KIND = tuple(Act((), None, kind("why"), None) for kind in KINDS)


@example(played=EVERY_KIND, type_="hostile")
@example(played=EVERY_KIND, type_="threaded")
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
@given(
    played=st.lists(acts, min_size=1, max_size=8).map(tuple),
    type_=st.sampled_from(["hostile", "hostile", "threaded"]),
)
def test_whatever_a_handler_does_its_task_ends_at_once_and_alone(
    playing: tuple[Bench, Run], played: tuple[Act, ...], type_: str
) -> None:
    bench, run = playing
    run(_play(bench, played, type_))


async def _play(bench: Bench, played: tuple[Act, ...], type_: str) -> None:
    Given.acts = played
    ids = [await bench.submit(type_, {"number": n}) for n in range(len(played))]
    innocent = await bench.submit("honest", {"number": 17})
    worker = bench.worker(progress_seconds=0.005, heartbeat_seconds=0.02)
    with capture_logs() as logs:
        async with asyncio.timeout(30):
            await worker.run(until_idle=True)
    for number, task_id in enumerate(ids):
        _check_ended(bench.task(task_id), played[number])
    untouched = bench.task(innocent)
    assert (untouched.status, untouched.attempt, bench.result(innocent)) == (
        "completed", 1, {"value": 17},
    )  # fmt: skip
    _, held, _ = bench.money()
    assert held == 0
    assert [line for line in logs if line["log_level"] not in {"info", "debug"}] == []
    assert {line["outcome"] for line in logs if line["event"] == "task.attempted"} <= {
        "completed", "failed",
    }  # fmt: skip


def _check_ended(task: Task, act: Act) -> None:
    """Once, in its first attempt, its hold settled; a failure is typed, and one raised is told."""
    assert (task.token, task.credits_held) == (1, 0)
    if task.status == "completed":
        assert act.error is None
        assert (task.credits_charged, task.credits_released) == (PRICE, 0)
        return
    assert task.status == "failed", task
    assert (task.credits_charged, task.credits_released) == (0, PRICE)
    assert task.failure is not None
    assert task.failure.type in get_args(FailureType)
    assert task.failure.message


@handler("mistaken", price_credits=PRICE, attempts_max=1)
async def mistaken(which: Which, context: Context) -> Anything:
    """Says that it was cancelled, which nobody asked for."""
    raise TaskCancelled


@handler("leaving", price_credits=PRICE, attempts_max=1)
async def leaving(which: Which, context: Context) -> Anything:
    """What is raised by work that somebody else cancelled."""
    inner = asyncio.ensure_future(asyncio.Event().wait())
    inner.cancel()
    await inner
    return Anything()


@pytest.mark.parametrize("made", [mistaken, leaving], ids=lambda made: made.name)
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(
    database: str, made: Handler
) -> None:
    async with opened(database, [made]) as bench:
        task_id = await bench.submit(made.name)
        await bench.worker().run(until_idle=True)
        task = bench.task(task_id)
        assert (task.status, task.token, task.credits_held) == ("failed", 1, 0)
        assert task.failure is not None


async def test_a_heartbeat_that_fails_costs_no_task_its_lease(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop that keeps the leases goes on, whatever one turn of it raised."""
    async with opened(database, HANDLERS) as bench:
        renew, calls = bench.leases.renew, 0

        async def failing(beats: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ValueError("no such number")
            return await renew(beats)

        monkeypatch.setattr(bench.leases, "renew", failing)
        task_id = await bench.submit("honest", {"number": 1})
        with capture_logs() as logs:
            await bench.worker(progress_seconds=0.005).run(until_idle=True)
        assert calls > 1
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["leases.failed"]
        assert bench.task(task_id).status == "completed"


@handler("talkative", price_credits=PRICE, attempts_max=1)
async def talkative(which: Which, context: Context) -> Anything:
    """Awaits nothing but its own reports."""
    turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    for percent in range(99):
        await context.progress(percent)
    return Anything(turn.is_set())


async def test_who_awaits_only_its_own_reports_leaves_the_others_their_turn(database: str) -> None:
    """Else it holds up the heartbeats of all tasks of its worker, and does not hear its cancel."""
    async with opened(database, [talkative]) as bench:
        task_id = await bench.submit("talkative")
        await bench.worker().run(until_idle=True)
        assert bench.result(task_id) == {"value": True}
