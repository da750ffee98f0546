"""QUALITY 10: a tail reader misses nothing, whatever the writers do; without the lock, it does."""

from __future__ import annotations

import asyncio
import random
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, pairwise

import msgspec
import psycopg
import pytest

from tests.integration.readers import following, open_log
from tests.integration.rivals import launch

WRITERS = 3


class Tail(msgspec.Struct, frozen=True):
    """Positions as the reader saw them, as the writers were given them, and as they stand."""

    seen: list[int]
    given: list[int]
    standing: list[int]

    @property
    def missed(self) -> set[int]:
        return set(self.standing) - set(self.seen)


async def test_a_tail_reader_sees_everything_once_and_in_order(database: str) -> None:
    tail = await _tail(database, commits=400)
    assert tail.missed == set()
    assert all(before < after for before, after in pairwise(tail.seen))
    assert tail.seen == tail.standing == sorted(tail.given)


async def test_without_the_lock_the_same_reader_misses_events(database: str) -> None:
    """So the test above can fail: these writers differ from its writers by the lock alone."""
    tail = await _tail(database, "--naive", commits=400)
    assert tail.missed
    assert sorted(tail.given) == tail.standing, "what is missed was committed nevertheless"


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
async def test_a_tail_reader_misses_none_of_100_000_commits(database: str) -> None:
    tail = await _tail(database, commits=100_000 // WRITERS + 1)
    assert tail.missed == set()
    assert tail.seen == tail.standing == sorted(tail.given)


async def _tail(database: str, *options: str, commits: int) -> Tail:
    """Follow the log while `WRITERS` processes write, each so many commits."""
    seed = random.randrange(2**32)  # noqa: S311 - shown, to have it again
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    async with open_log(database, poll_seconds=0.1) as log, following(log) as reader:
        with _idle_transactions(database):
            writers = await launch(
                "tests.integration.log_writer",
                (
                    [database, f"--commits={commits}", f"--seed={seed + number}", *options]
                    for number in range(WRITERS)
                ),
            )
            answers = await asyncio.gather(*map(_answer, writers))
            await reader.reach(await log.head())
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT notification_id FROM tallystick_events ORDER BY 1")
        standing = [position for (position,) in rows]
    seen = [recorded.position for recorded in reader.seen]
    return Tail(seen, list(chain.from_iterable(answers)), standing)


async def _answer(writer: Process) -> list[int]:
    answer, _ = await writer.communicate()
    assert writer.returncode == 0
    return msgspec.json.decode(answer, type=list[int])


@contextmanager
def _idle_transactions(database: str) -> Iterator[None]:
    """Sessions that began, read or wrote something else, and sit there."""
    statements = (
        "SELECT count(*) FROM tallystick_events",
        "SELECT nextval('tallystick_events_notification_id_seq')",
        "INSERT INTO tracking (consumer, position) VALUES ('idler', 1)",
    )
    with ExitStack() as stack:
        for statement in statements:
            connection = stack.enter_context(psycopg.connect(database))
            connection.execute(statement.encode())
        yield
