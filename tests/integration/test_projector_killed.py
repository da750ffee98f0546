"""kill -9 of a leading projector loses nothing and repeats nothing; a standby takes over."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from adapters.embedded import EmbeddedPostgres
from adapters.migrate import migrate
from adapters.read_tables import BEHIND, STATEMENT_TABLE, ReadTable
from tests.histories import History, store
from tests.integration.read_models import content, drain, expected, positions, projector, status_of

ROOT = Path(__file__).parents[2]
KILLS = 10


@contextmanager
def process(dsn: str, table: ReadTable) -> Iterator[subprocess.Popen[str]]:
    """A leader in another process, killed at the end."""
    command = [sys.executable, "-m", "tests.integration.projector_process"]
    with subprocess.Popen(
        [*command, dsn, table.projection.name], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as leader:
        try:
            yield leader
        finally:
            leader.kill()


def told(leader: subprocess.Popen[str]) -> int:
    """Next position that the process tells."""
    assert leader.stdout is not None
    return int(leader.stdout.readline())


def kill_postmaster(folder: Path) -> None:
    pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(pid)
    postmaster.kill()
    postmaster.wait(20)


@pytest.mark.fault
@pytest.mark.parametrize("table", BEHIND, ids=lambda t: t.projection.name)
async def test_any_number_of_kills_leaves_what_an_undisturbed_run_leaves(
    database: str, table: ReadTable
) -> None:
    events = History(11).grow(1_200).events
    store(database, events)
    positions = [0]
    for kill in range(KILLS):
        with process(database, table) as leader:
            positions.extend(told(leader) for _ in range(1 + kill * 3))
    assert positions == sorted(positions)
    assert positions[-1] < len(events), "the last one was killed on its way"
    await drain(database)
    assert content(database) == expected(events)


@pytest.mark.fault
async def test_a_standby_takes_over_from_a_killed_leader(database: str) -> None:
    events = History(12).grow(900).events
    head = store(database, events)
    standby = projector(database, STATEMENT_TABLE, standby_seconds=0.05)
    with process(database, STATEMENT_TABLE) as leader:
        assert await asyncio.to_thread(told, leader) == 3
        assert await standby.run_once() == 0
        async with status_of(database) as status:
            assert (await status.lag())[0].led
        leader.kill()
        leader.wait()
        async with standby, asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(standby.run())
            await standby.catch_up(head)
            assert standby.leading
            await standby.close()
    assert content(database)["statement_lines"] == expected(events)["statement_lines"]


@pytest.mark.fault
async def test_it_outlives_a_killed_database(
    private_postgres: EmbeddedPostgres, server_folder: Path
) -> None:
    dsn = private_postgres.dsn()
    migrate(dsn)
    events = History(13).grow(400).events
    store(dsn, events[:200])
    one = projector(dsn, STATEMENT_TABLE, batch_events_max=5, retry_seconds=0.05)
    async with one, asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(one.run())
        await one.catch_up(20)
        await asyncio.to_thread(kill_postmaster, server_folder)
        await asyncio.to_thread(private_postgres.start)
        await one.catch_up(store(dsn, events[200:]))
        await one.close()
    after = expected(events, positions(dsn))
    assert content(dsn)["statement_lines"] == after["statement_lines"]
