"""Reading the log: from a position, one stream, as of a version or time, and as it grows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters import log as log_module
from adapters.committer import Committer
from adapters.log import EventUnreadable, Recorded, StreamTooLong
from adapters.sql import statement
from domain.errors import Unavailable
from tests.integration.decisions import (
    complete,
    grant,
    open_account,
    running_committer,
    start,
    submit,
)
from tests.integration.readers import open_log

pytestmark = pytest.mark.postgres15


async def _metered_task(committer: Committer, account_id: UUID) -> UUID:
    """Seven events: of the account 4, of the task 3."""
    task_id = uuid4()
    await committer.execute(open_account(account_id))
    await committer.execute(grant(account_id, 10))
    await committer.execute(submit(task_id, account_id))
    await committer.execute(start(task_id))
    await committer.execute(complete(task_id, account_id))
    return task_id


def _topics(recorded: list[Recorded]) -> list[str]:
    return [one.event.TOPIC for one in recorded]


async def test_an_empty_log_reads_as_empty(database: str) -> None:
    async with open_log(database) as log:
        assert await log.head() == 0
        assert await log.read(0, 10) == []
        assert await log.stream(uuid4()) == []


async def test_reading_goes_from_position_to_position(database: str) -> None:
    async with running_committer(database) as committer, open_log(database) as log:
        await _metered_task(committer, uuid4())
        everything = await log.read(0, 100)
        assert _topics(everything) == [
            "account.opened",
            "credits.granted",
            "task.submitted",
            "credits.held",
            "task.started",
            "task.completed",
            "credits.captured",
        ]
        positions = [one.position for one in everything]
        assert all(before < after for before, after in pairwise(positions))
        assert await log.head() == positions[-1]
        assert await log.read(positions[1], 2) == everything[2:4]
        assert await log.read(positions[1], 100, upto=positions[4]) == everything[2:5]
        assert await log.read(positions[4], 100, upto=positions[4]) == []
        assert await log.read(positions[-1], 100) == []


async def test_a_stream_is_read_in_parts_by_version(database: str) -> None:
    account_id = uuid4()
    async with running_committer(database) as committer, open_log(database) as log:
        task_id = await _metered_task(committer, account_id)
        whole = await log.stream(account_id)
        assert [one.event.originator_version for one in whole] == [1, 2, 3, 4]
        assert {one.event.originator_id for one in whole} == {account_id}
        assert await log.stream(account_id, upto_version=3) == whole[:3]
        assert await log.stream(account_id, after_version=1, upto_version=3) == whole[1:3]
        assert await log.stream(account_id, after_version=4) == []
        assert len(await log.stream(task_id)) == 3


async def test_a_stream_as_of_a_time_ends_with_that_times_last_event(database: str) -> None:
    account_id = uuid4()
    async with running_committer(database) as committer, open_log(database) as log:
        await _metered_task(committer, account_id)
        whole = await log.stream(account_id)
        at = whole[1].event.meta.at
        assert await log.stream(account_id, upto_time=at) == whole[:2]
        before = at - timedelta(microseconds=1)
        assert await log.stream(account_id, upto_time=before) == whole[:1]
        assert await log.stream(account_id, upto_time=at - timedelta(days=1)) == []


async def test_a_stream_too_long_to_hold_is_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = uuid4()
    async with running_committer(database) as committer, open_log(database) as log:
        await _metered_task(committer, account_id)
        monkeypatch.setattr(log_module, "STREAM_EVENTS_MAX", 4)
        assert len(await log.stream(account_id)) == 4
        monkeypatch.setattr(log_module, "STREAM_EVENTS_MAX", 3)
        with pytest.raises(StreamTooLong):
            await log.stream(account_id)
        assert len(await log.stream(account_id, after_version=1)) == 3


async def test_an_unreadable_event_is_named_and_can_be_passed(database: str) -> None:
    account_id = uuid4()
    async with running_committer(database) as committer, open_log(database) as log:
        await _metered_task(committer, account_id)
        everything = await log.read(0, 100)
        bad = everything[3]
        with psycopg.connect(database) as connection:
            connection.execute(
                "UPDATE tallystick_events SET state = 'x' WHERE notification_id = %s",
                (bad.position,),
            )
        assert await log.read(0, 100) == everything[:3]
        with pytest.raises(EventUnreadable) as caught:
            await log.read(everything[2].position, 100)
        assert caught.value.position == bad.position
        assert caught.value.stream_id == account_id
        assert await log.read(bad.position, 100) == everything[4:]
        with pytest.raises(EventUnreadable):
            await log.stream(account_id)


async def test_following_gives_what_is_there_and_what_comes(database: str) -> None:
    account_id = uuid4()
    async with (
        running_committer(database) as committer,
        open_log(database, poll_seconds=60) as log,
        asyncio.timeout(20),
    ):
        await _metered_task(committer, account_id)
        everything = await log.read(0, 100)
        batches = log.follow(everything[0].position, limit=4)
        assert await anext(batches) == everything[1:5]
        assert await anext(batches) == everything[5:]
        coming = asyncio.ensure_future(anext(batches))
        answer = await committer.execute(grant(account_id, 1))
        [granted] = await coming
        assert (granted.position, granted.event) == (answer.position, answer.events[0])


async def test_following_misses_no_wake_up_between_reading_and_waiting(database: str) -> None:
    """A commit right after a read that found nothing is heard at once, not at the next poll."""
    async with (
        running_committer(database) as committer,
        open_log(database, poll_seconds=3_600) as log,
        asyncio.timeout(20),
    ):
        heard = log._wakeup.watch()
        read = log.read

        async def read_then_commit(after: int, limit: int) -> list[Recorded]:
            found = await read(after, limit)
            if not found:
                await committer.execute(open_account(uuid4()))
                await heard.wait(20)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log, "read", read_then_commit)
            [opened] = await anext(log.follow(0))
        assert opened.event.TOPIC == "account.opened"


async def test_a_database_that_is_away_is_a_typed_error(database: str) -> None:
    nowhere = psycopg.conninfo.make_conninfo(database, dbname="nowhere", connect_timeout=1)
    async with open_log(nowhere) as log:
        assert not log.listening
        log._pool.timeout = 0.2
        with pytest.raises(Unavailable):
            await log.read(0, 1)


@pytest.mark.parametrize(
    ("name", "parameters", "index"),
    [
        ("select_events", {"after": 10, "upto": 2**62, "limit": 100}, "notification_id_idx"),
        (
            "select_stream",
            {"stream_id": UUID(int=1), "after_version": 0, "upto_version": 9, "limit": 100},
            "tallystick_events_pkey",
        ),
    ],
)
def test_reads_go_by_an_index_and_sort_nothing(
    database: str, name: str, parameters: dict[str, object], index: str
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO tallystick_events (originator_id, originator_version, topic, state)"
            " SELECT gen_random_uuid(), 1, 'topic', '' FROM generate_series(1, 20000)"
        )
        connection.execute("ANALYZE tallystick_events")
        connection.execute("SET plan_cache_mode = force_generic_plan")
        cursor = psycopg.ClientCursor(connection)
        text = cursor.mogrify(statement(name), {key: f"${key}" for key in parameters})
        for number, key in enumerate(parameters, start=1):
            text = text.replace(f"'${key}'", f"${number}")
        connection.execute(f"PREPARE reading AS {text}".encode())
        values = cursor.mogrify(", ".join(["%s"] * len(parameters)), list(parameters.values()))
        plan = connection.execute(f"EXPLAIN EXECUTE reading ({values})".encode()).fetchall()
    lines = "\n".join(line for (line,) in plan)
    assert index in lines
    assert "Sort" not in lines
    assert "Seq Scan" not in lines
