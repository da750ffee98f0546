"""Processes die or stop under load: nothing acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from uuid import UUID

import psutil
import psycopg
import pytest

from adapters.committer import Committer
from adapters.embedded import EmbeddedPostgres
from adapters.migrate import migrate
from adapters.writer_session import IDLE_IN_TRANSACTION_SECONDS_MAX
from tests.fault import commands
from tests.fault.books import LOG_LOCKS, Books
from tests.fault.commands import new_id, open_account
from tests.fault.writers import WriterProcess, running

pytestmark = pytest.mark.fault

CREDITS = 10**6
WRITERS_AT_ONCE = 2
ACKNOWLEDGED_MAX = 300
"""A process is killed after a random number of answers, at most this."""
CALLERS = 8
NIGHTLY_KILLS = 1_000
NIGHTLY_SERVER_KILLS = 200


async def _account(dsn: str) -> UUID:
    account_id = new_id()
    async with running(dsn) as committer:
        await committer.execute(open_account(account_id, amount=CREDITS))
    return account_id


def _kills(ci: int, nightly: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "kills",
        [
            ci,
            pytest.param(nightly, marks=[pytest.mark.nightly, pytest.mark.timeout(nightly * 30)]),
        ],
    )


@_kills(10, NIGHTLY_KILLS)
async def test_killed_writers_lose_and_double_nothing(database: str, kills: int) -> None:
    account_id = await _account(database)
    acknowledged: list[str] = []
    for _ in range(kills // WRITERS_AT_ONCE):
        acknowledged += await _one_round_of_kills(database, account_id)
    assert len(acknowledged) > kills
    books = Books(database).verify()
    books.verify_commands([UUID(line) for line in acknowledged])
    # What was not acknowledged any more is there as a whole or not at all.
    assert set(books.command_ids.values()) == {2}


async def _one_round_of_kills(dsn: str, account_id: UUID) -> list[str]:
    """Command ids that writers on one account acknowledged before each was killed."""
    writers = [
        await WriterProcess.begin("submit", dsn, account_id, CREDITS)
        for _ in range(WRITERS_AT_ONCE)
    ]
    for writer in writers:
        assert await writer.line() == "ready"
        writer.go()

    async def killed(writer: WriterProcess) -> list[str]:
        first = await writer.lines(random.randint(1, ACKNOWLEDGED_MAX))  # noqa: S311
        return [*first, *await writer.kill()]

    return [line for lines in await asyncio.gather(*map(killed, writers)) for line in lines]


@_kills(4, NIGHTLY_SERVER_KILLS)
async def test_a_killed_server_costs_its_callers_time_only(
    private_postgres: EmbeddedPostgres, server_folder: Path, kills: int
) -> None:
    """Killed outright, and each fourth time stopped at once, without a checkpoint."""
    dsn = private_postgres.dsn()
    await asyncio.to_thread(migrate, dsn)
    account_id = await _account(dsn)
    done: list[UUID] = []
    async with running(dsn) as committer:
        callers = [
            asyncio.create_task(_submit_on(committer, account_id, done)) for _ in range(CALLERS)
        ]
        for kill in range(kills):
            await _more(done, callers)
            processes = _processes(server_folder)
            if kill % 4 == 3:
                # The postmaster's immediate stop: its children end too, with no checkpoint.
                processes[0].send_signal(signal.SIGQUIT)
            else:
                for process in processes:
                    process.kill()
            await asyncio.to_thread(psutil.wait_procs, processes, 20)
            await asyncio.to_thread(private_postgres.start)
        await _more(done, callers)
        for caller in callers:
            caller.cancel()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    Books(dsn).verify().verify_commands(done)


async def _submit_on(committer: Committer, account_id: UUID, done: list[UUID]) -> None:
    while True:
        decision = commands.submit(account_id)
        await committer.execute(decision)
        done.append(decision.command_id)


async def _more(done: list[UUID], callers: list[asyncio.Task[None]]) -> None:
    """Return when a random number of further commands is acknowledged, or a caller has failed."""
    wanted = len(done) + random.randint(1, ACKNOWLEDGED_MAX)  # noqa: S311
    async with asyncio.timeout(30):
        while len(done) < wanted and not any(c.done() for c in callers):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def _processes(folder: Path) -> list[psutil.Process]:
    """The server's, the postmaster first."""
    pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


async def test_a_writer_stopped_inside_the_lock_is_put_out(database: str) -> None:
    """Others wait a second, not for ever; when it wakes up it notices, and does it again."""
    account_id = await _account(database)
    stopped = await WriterProcess.begin("stall", database, account_id, 1)
    assert await stopped.line() == "ready"
    stopped.go()
    assert await stopped.line() == "locked 1"
    stopped.stop()
    mine = commands.submit(account_id)
    async with running(database) as committer, asyncio.timeout(IDLE_IN_TRANSACTION_SECONDS_MAX / 2):
        await committer.execute(mine)
    with psycopg.connect(database) as connection:
        holders = connection.execute(LOG_LOCKS).fetchall()
    assert holders == []
    stopped.resume()
    stopped.go()
    *again, command_id = await stopped.end()
    assert again == ["locked 2"]
    Books(database).verify().verify_commands([mine.command_id, UUID(command_id)])
