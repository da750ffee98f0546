"""The wake-up channel: who is woken by what, and life without it."""

from __future__ import annotations

import asyncio
from typing import Literal
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.embedded import EmbeddedPostgres
from adapters.wakeup import APPLICATION_NAME, QUEUED, Wakeup
from tests.integration.decisions import grant, open_account, running_committer, submit
from tests.integration.readers import open_log

LONG = 30.0
"""Seconds that no wait here takes unless the test fails."""


async def test_each_waiter_hears_what_it_asked_for(database: str) -> None:
    account_id = uuid4()
    async with running_committer(database) as committer, Wakeup(database) as wakeup:
        worker, projector = wakeup.watch(only=QUEUED), wakeup.watch()
        await committer.execute(open_account(account_id))
        assert await projector.wait(LONG)
        await committer.execute(grant(account_id, 10))
        assert await projector.wait(LONG)
        assert not await worker.wait(0)
        await committer.execute(submit(uuid4(), account_id))
        assert await worker.wait(LONG)
        assert await projector.wait(LONG)
        assert not await worker.wait(0)


async def test_what_comes_while_a_waiter_is_busy_is_kept_for_it(database: str) -> None:
    async with running_committer(database) as committer, Wakeup(database) as wakeup:
        busy, other = wakeup.watch(), wakeup.watch()
        await committer.execute(open_account(uuid4()))
        assert await other.wait(LONG)
        assert await busy.wait(0.001)
        assert not await busy.wait(0.001)


async def test_a_cancelled_wait_takes_nothing_with_it(database: str) -> None:
    async with running_committer(database) as committer, Wakeup(database) as wakeup:
        watch, other = wakeup.watch(), wakeup.watch()
        waiting = asyncio.ensure_future(watch.wait(LONG))
        await asyncio.sleep(0)
        waiting.cancel()
        await committer.execute(open_account(uuid4()))
        assert await other.wait(LONG)
        assert await watch.wait(0.001)


async def test_a_lost_channel_shows_and_is_taken_up_again(database: str) -> None:
    async with running_committer(database) as committer, Wakeup(database) as wakeup:
        watch = wakeup.watch()
        _end_listener(database)
        assert await watch.wait(LONG), "the loss itself wakes, since something may be missed"
        assert (wakeup.listening, wakeup.losses) == (False, 1)
        assert await watch.wait(LONG), "so does standing again"
        assert (wakeup.listening, wakeup.losses) == (True, 1)
        await committer.execute(open_account(uuid4()))
        assert await watch.wait(LONG)


async def test_polling_takes_over_while_the_channel_is_lost(
    database: str, postgres: EmbeddedPostgres
) -> None:
    account_id = uuid4()
    async with (
        running_committer(database) as committer,
        open_log(database, poll_seconds=0.05) as log,
        asyncio.timeout(LONG),
    ):
        await log.head()
        channel = log._wakeup.watch()
        _admit(database, postgres, "false")
        _end_listener(database, postgres)
        assert await channel.wait(LONG)

        batches = log.follow(0)
        for decision in (open_account(account_id), grant(account_id, 1), grant(account_id, 2)):
            coming = asyncio.ensure_future(anext(batches))
            answer = await committer.execute(decision)
            assert [one.event for one in await coming] == list(answer.events)
        assert not log.listening, "all of that was found by polling"

        _admit(database, postgres, "true")
        assert await channel.wait(LONG)
        assert log.listening, "found again"


async def test_it_starts_without_a_server_and_says_so(database: str) -> None:
    nowhere = make_conninfo(database, dbname="nowhere")
    async with asyncio.timeout(LONG), Wakeup(nowhere) as wakeup:
        assert not wakeup.listening
        assert wakeup.losses == 0
        assert not await wakeup.watch().wait(0.01)


def _end_listener(database: str, postgres: EmbeddedPostgres | None = None) -> None:
    dsn = postgres.dsn("postgres") if postgres else database
    with psycopg.connect(dsn) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = %s",
            (APPLICATION_NAME, _name(database)),
        ).fetchall()
    assert ended == [(True,)]


def _admit(database: str, postgres: EmbeddedPostgres, allowed: Literal["true", "false"]) -> None:
    """Whether the database takes new connections; those that stand go on."""
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(_name(database)), sql.SQL(allowed)
            )
        )


def _name(database: str) -> str:
    return str(conninfo_to_dict(database)["dbname"])
