"""A tick does a worker's, a watchdog's and a projector's work within its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest
from msgspec import Raw

from service.bootstrap import Service, open_service
from service.hooks import Notice
from service.identifiers import new_id
from service.settings import Settings
from service.submission import Submission
from service.tick import tick
from tallystick.handler import Context, TaskFailure, handler
from tests.integration.bus import ORIGIN


class Ask(msgspec.Struct, frozen=True):
    fail: bool = False


class Reply(msgspec.Struct, frozen=True):
    ok: bool = True


@handler("quick", price_credits=1)
async def quick(ask: Ask, context: Context) -> Reply:
    if ask.fail:
        raise TaskFailure("param_error", "Not this.")
    return Reply()


@handler("slow", price_credits=1)
async def slow(ask: Ask, context: Context) -> Reply:
    await context.progress(10, "begun")
    await asyncio.Event().wait()
    return Reply()


@pytest.fixture
async def service(database: str, tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings(database_url=database, data_folder=tmp_path, poll_seconds=0.05)
    async with open_service(settings, handlers=[quick, slow]) as opened:
        yield opened


@pytest.fixture
async def account_id(service: Service) -> UUID:
    account_id = new_id()
    await service.bus.open_account(account_id, plan="unlimited", name=None, origin=ORIGIN)
    await service.bus.grant(
        account_id, amount=1_000, kind="paid", source_ref="x", reason="", origin=ORIGIN
    )
    return account_id


async def _submit(
    service: Service, account_id: UUID, type_: str, task_input: bytes = b"{}"
) -> UUID:
    task_id = new_id()
    submission = Submission(
        task_id=task_id, account_id=account_id, type=type_, input=Raw(task_input)
    )
    await service.bus.submit(submission, origin=ORIGIN)
    return task_id


def _states(service: Service) -> dict[str, int]:
    with psycopg.connect(service.dsn) as connection:
        query = "SELECT status, count(*) FROM tasks GROUP BY status"
        return dict(connection.execute(query).fetchall())


async def test_a_tick_ends_early_when_all_is_done(service: Service, account_id: UUID) -> None:
    for number in range(20):
        task_input = b'{"fail": true}' if number % 4 == 0 else b"{}"
        await _submit(service, account_id, "quick", task_input)
    report = await tick(service, 30)
    assert (report.started, report.completed, report.failed) == (20, 15, 5)
    assert report.seconds < 20
    assert _states(service) == {"completed": 15, "failed": 5}


async def test_a_tick_brings_the_statement_up(service: Service, account_id: UUID) -> None:
    await _submit(service, account_id, "quick")
    await tick(service, 30)
    with psycopg.connect(service.dsn) as connection:
        lines = connection.execute("SELECT kind FROM statement_lines ORDER BY version").fetchall()
    assert [line[0] for line in lines] == ["granted", "held", "captured"]


async def test_what_does_not_fit_is_handed_back(service: Service, account_id: UUID) -> None:
    await _submit(service, account_id, "slow")
    report = await tick(service, 1)
    assert (report.started, report.handed_back) == (1, 1)
    assert _states(service) == {"queued": 1}


async def test_a_tick_that_is_cut_off_leaves_no_worker_behind(
    service: Service, account_id: UUID
) -> None:
    await _submit(service, account_id, "slow")
    cut_off = asyncio.create_task(tick(service, 5))
    async with asyncio.timeout(20):
        while _states(service) != {"running": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        cut_off.cancel()
        while _states(service) != {"queued": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_two_ticks_at_once_do_nothing_twice(service: Service, account_id: UUID) -> None:
    for _ in range(40):
        await _submit(service, account_id, "quick")
    reports = await asyncio.gather(tick(service, 30), tick(service, 30))
    assert sum(report.completed for report in reports) == 40
    assert _states(service) == {"completed": 40}


async def test_hooks_are_told_and_never_in_the_way(service: Service, account_id: UUID) -> None:
    told: list[tuple[str, str]] = []

    async def note(notice: Notice) -> None:
        told.append((notice.moment, notice.task.type))

    def refuse(notice: Notice) -> None:
        raise RuntimeError(notice.moment)

    def leave(notice: Notice) -> None:
        raise SystemExit(notice.moment)

    async def interrupt(notice: Notice) -> None:
        raise KeyboardInterrupt(notice.moment)

    await _submit(service, account_id, "quick")
    await _submit(service, account_id, "quick", b'{"fail": true}')
    worker = service.worker(hooks=[refuse, leave, interrupt, note])
    await worker.run(until_idle=True)
    assert sorted(told) == [("active", "quick")] * 2 + [("completed", "quick"), ("failed", "quick")]


async def test_hooks_hear_of_progress(service: Service, account_id: UUID) -> None:
    heard = asyncio.Event()

    async def note(notice: Notice) -> None:
        if notice.moment == "progress" and notice.progress is not None:
            assert (notice.progress.percent, notice.progress.message) == (10, "begun")
            heard.set()

    await _submit(service, account_id, "slow")
    worker = service.worker(hooks=[note], grace_seconds=0.0)
    working = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        await heard.wait()
    worker.stop()
    await working
