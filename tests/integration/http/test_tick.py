"""Where no worker and no processor runs: what crons that call the `tick` endpoint get done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from msgspec import Raw

from adapters.decision import States
from domain import schedule
from domain.aggregate import SCHEDULES, Stream
from domain.event import Event, Metadata
from domain.schedule import CreateSchedule
from service.identifiers import new_id
from tallystick.handler import Context, TaskFailure, handler
from tests.fault.books import Books
from tests.integration.http.api import SETUP, Api, running_api
from tests.integration.test_schedules import Begun

PRICE = 3
PARALLEL = 2
TURNS_SECONDS_MAX = 60


class Shot(msgspec.Struct, frozen=True):
    fails: int = 0
    """In so many of its attempts."""


class Made(msgspec.Struct, frozen=True):
    attempt: int


class At:
    """Members at work, now and at the most, over all ticks of this process."""

    work = 0
    most = 0


@handler("shot", price_credits=PRICE, attempts_max=2, retry_seconds=0.2)
async def shot(asked: Shot, context: Context) -> Made:
    At.work += 1
    At.most = max(At.most, At.work)
    try:
        await asyncio.sleep(0)
        if context.attempt <= asked.fails:
            raise TaskFailure("network", "Not yet.")
        return Made(attempt=context.attempt)
    finally:
        At.work -= 1


@handler("endless", price_credits=PRICE)
async def endless(asked: Shot, context: Context) -> Made:
    await context.progress(1, "begun")
    await asyncio.Event().wait()
    return Made(attempt=context.attempt)


@pytest.fixture
def counted() -> Iterator[None]:
    At.work = At.most = 0
    yield
    assert At.work == 0


async def _tick(api: Api, seconds: float = 30) -> dict[str, Any]:
    answer = await api.post("/v1/worker/tick", {"seconds": seconds}, "worker")
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def _start_group(api: Api, fails: Sequence[int]) -> str:
    body = {
        "kind": "board",
        "parallel_max": PARALLEL,
        "members": [{"type": "shot", "input": {"fails": times}} for times in fails],
    }
    answer = await api.post("/v1/groups", body)
    assert answer.status_code == 202, answer.text
    return f"/v1/groups/{answer.json()['id']}"


async def _due_schedule(api: Api) -> UUID:
    """One that was due a moment ago, and is not again for a year."""
    schedule_id = new_id()
    command = CreateSchedule(
        schedule_id=schedule_id,
        account_id=api.account,
        cron="0 0 1 1 *",
        zone="UTC",
        type="shot",
        input=Raw(b"{}"),
    )
    first = api.service.clock.now().replace(second=0, microsecond=0)

    def decide(states: States, meta: Metadata) -> Sequence[Event]:
        return schedule.decide(states[schedule_id], command, Begun(first), meta)

    await api.service.bus.execute(decide, SETUP, new=(Stream(SCHEDULES, schedule_id),))
    return schedule_id


@pytest.mark.usefixtures("counted")
async def test_crons_alone_drive_groups_and_schedules_to_their_end(
    database: str, tmp_path: Path
) -> None:
    """Each turn two crons call at once; one member fails for now, and one for good."""
    async with running_api(database, tmp_path, [shot]) as api:
        schedule_id = await _due_schedule(api)
        group = await _start_group(api, [0, 1, 0, 2, 0, 0])
        reports: list[dict[str, Any]] = []
        async with asyncio.timeout(TURNS_SECONDS_MAX):
            while (shown := (await api.get(group)).json())["status"] == "processing":
                reports += await asyncio.gather(_tick(api), _tick(api))

        assert [member["status"] for member in shown["members"]] == [
            *("completed", "completed", "completed", "failed", "completed", "completed"),
        ]
        assert (shown["status"], shown["credits"]) == (
            *("partial", {"held": 0, "charged": 5 * PRICE, "released": PRICE}),
        )
        assert At.most <= PARALLEL + 1, "at most so many members, and the schedule's task"
        totals = {
            name: sum(report[name] for report in reports)
            for name in ("fired", "completed", "failed", "retrying", "started", "handed_back")
        }
        assert totals == {
            "fired": 1,
            "completed": 6,
            "failed": 1,
            "retrying": 2,
            "started": 9,
            "handed_back": 0,
        }
        fired = (await api.get("/v1/tasks?type=shot&limit=50")).json()["items"]
        assert sum(item["group_id"] is None for item in fired) == 1
        mine = (await api.get("/v1/schedules")).json()["items"]
        assert [(item["id"].endswith(schedule_id.hex), item["fired"]) for item in mine] == [
            (True, 1)
        ]
        lines = (await api.get("/v1/account/statement")).json()["items"]
        assert sum(line["kind"] == "captured" for line in lines) == 2
    Books(database).verify()


async def test_a_tick_ends_soon_in_a_process_that_is_told_to_stop(
    database: str, tmp_path: Path
) -> None:
    async with running_api(database, tmp_path, [endless], drain_seconds_max=0.2) as api:
        accepted = await api.post("/v1/tasks", {"type": "endless", "input": {}})
        ticking = asyncio.create_task(_tick(api, 300))
        await _until(database, "running")
        api.stop.set()
        report = await ticking
        assert (report["started"], report["handed_back"]) == (1, 1)
        assert (await api.get(accepted.headers["location"])).json()["status"] == "queued"


async def _until(dsn: str, status: str) -> None:
    async with asyncio.timeout(30), await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.set_autocommit(True)
        row: Any = None
        while row != (status,):
            row = await (await connection.execute("SELECT status FROM tasks")).fetchone()
