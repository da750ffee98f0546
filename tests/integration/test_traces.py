"""Everything that one request led to can be found by its correlation and its trace."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import psycopg
import pytest
import structlog
from msgspec import Raw

from adapters.mapper import EventMapper
from domain.event import Metadata
from service.command import Origin
from service.identifiers import new_id
from service.logs import configure_logs
from service.submission import Submission
from tallystick.handler import Context, TaskFailure, handler
from tests.integration.bus import Bench, ended, opened, working

TRACE, OTHER_TRACE = "a" * 32, "b" * 32


class Ask(msgspec.Struct, frozen=True):
    fail: bool = False


class Reply(msgspec.Struct, frozen=True):
    word: str


@handler("told", price_credits=1, stages={"half": 50})
async def told(ask: Ask, context: Context) -> Reply:
    structlog.get_logger().info("handler.speaks")
    await context.stage("half")
    if ask.fail:
        raise TaskFailure("param_error", "No.")
    return Reply("yes")


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, [told]) as made:
        yield made


async def _submit(bench: Bench, trace_id: str, *, fail: bool = False) -> UUID:
    submission = Submission(
        task_id=new_id(),
        account_id=bench.account_id,
        type="told",
        input=Raw(msgspec.json.encode(Ask(fail=fail))),
    )
    await bench.bus.submit(submission, origin=Origin(actor="ada", trace_id=trace_id))
    return submission.task_id


def _metadata(bench: Bench, *tasks: UUID) -> list[tuple[str, Metadata]]:
    """Of all events of tasks and of the holds made for them, in the order of the log."""
    query = "SELECT topic, state FROM tallystick_events ORDER BY notification_id"
    with psycopg.connect(bench.dsn) as connection:
        events = [EventMapper().decode(*row) for row in connection.execute(query)]
    return [
        (event.TOPIC, event.meta)
        for event in events
        if event.originator_id in tasks or getattr(event, "task_id", None) in tasks
    ]


async def test_workers_events_belong_to_the_request_that_made_the_task(bench: Bench) -> None:
    first = await _submit(bench, TRACE)
    second = await _submit(bench, OTHER_TRACE)
    async with working(bench.worker()):
        await ended(bench, first)
        await ended(bench, second)
    for task_id, trace_id in ((first, TRACE), (second, OTHER_TRACE)):
        told_of = _metadata(bench, task_id)
        assert [topic for topic, _ in told_of] == [
            *("task.submitted", "credits.held", "task.started", "task.stage_reached"),
            *("task.completed", "credits.captured"),
        ]
        assert {meta.trace_id for _, meta in told_of} == {trace_id}
        assert len({meta.correlation_id for _, meta in told_of}) == 1


async def test_a_retry_is_a_request_of_its_own(bench: Bench) -> None:
    task_id = await _submit(bench, TRACE, fail=True)
    async with working(bench.worker()):
        await ended(bench, task_id)
        before = len(_metadata(bench, task_id))
        again = Origin(actor="ada", trace_id=OTHER_TRACE)
        await bench.bus.retry(task_id, bench.account_id, origin=again)
        await ended(bench, task_id)
    first_run, second_run = (_metadata(bench, task_id)[part] for part in
                             (slice(before), slice(before, None)))  # fmt: skip
    assert {meta.trace_id for _, meta in first_run} == {TRACE}
    assert {meta.trace_id for _, meta in second_run} == {OTHER_TRACE}
    assert len({meta.correlation_id for _, meta in first_run + second_run}) == 2


async def test_lines_of_worker_and_handler_carry_the_task_and_its_trace(bench: Bench) -> None:
    sink = io.BytesIO()
    before = structlog.get_config()
    configure_logs(readable=False, file=sink)
    structlog.configure(cache_logger_on_first_use=False)
    try:
        task_id = await _submit(bench, TRACE)
        async with working(bench.worker()):
            await ended(bench, task_id)
    finally:
        structlog.configure(**before)
    lines = {line["event"]: line for line in map(json.loads, sink.getvalue().splitlines())}
    for event in ("handler.speaks", "task.attempted"):
        assert (lines[event]["task_id"], lines[event]["trace_id"]) == (str(task_id), TRACE)
    assert {"type", "attempt", "duration_ms", "outcome"} <= set(lines["task.attempted"])
