"""The connection fails at each step of a commit: what was acknowledged is in the log, once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest

from adapters.committer import Committer, OutcomeUnknown
from adapters.decision import Committed, Decision, KeyRecord
from domain.errors import InsufficientCredits, Unavailable
from tests.fault import commands
from tests.fault.books import LOG_LOCKS, Books
from tests.fault.commands import find_nothing, new_id, open_account
from tests.fault.postgres_proxy import Action, Fault, Moment, PostgresProxy
from tests.fault.writers import running

pytestmark = pytest.mark.fault

FREE_STEPS = ("select_snapshots", "select_tails", "select_keys", "append_batch")
LOCKED_STEPS = ("begin", "lock", *FREE_STEPS, "commit")
RECONNECT_STEPS = ("end", "identify", "look_up")
FREE_ORDER = ("select_snapshots", "select_tails", "select_tails", "select_keys", "append_batch")
"""A refusal makes the batch look at its streams twice."""
ACTIONS: tuple[Action, ...] = ("cut", "silence", "terminate")
DEAF_SECONDS = 0.3
"""After this long without an answer the committer gives up a connection."""
CALLER_SECONDS_MAX = 8.0
"""Well below the 10 s after which the server itself would end a silent holder of the log's lock."""


def _points(path: str, steps: tuple[str, ...]) -> list[Any]:
    faults = [
        Fault(step, moment, action)
        for step in steps
        for moment in get_args(Moment)
        for action in ACTIONS
    ]
    faults += [Fault(step, "before", "half") for step in steps]
    # The server never hears that its client has gone, and keeps the log's lock if it has it.
    faults += [Fault(step, "before", "orphan") for step in steps]
    return [pytest.param(path, (fault,), id=f"{path}-{fault}") for fault in faults]


def _second_look_points() -> list[Any]:
    """The streams are read a second time, because of the refusal."""
    first = Fault("select_tails", "before", "pass")
    return [
        pytest.param("free", (first, fault), id=f"free-{fault}-again")
        for moment in get_args(Moment)
        for action in ACTIONS
        for fault in (Fault("select_tails", moment, action),)
    ]


def _double_points() -> list[Any]:
    """The commit is lost, and then the connection that asks what became of it."""
    points = []
    for first in (Fault("append_batch", "after", "cut"), Fault("append_batch", "before", "cut")):
        for step in RECONNECT_STEPS:
            for action in ACTIONS:
                second = Fault(step, "before", action)
                points.append(
                    pytest.param("free", (first, second), id=f"free-{first}-then-{second}")
                )
    return points


POINTS = [
    *_points("free", FREE_STEPS),
    *_second_look_points(),
    *_points("locked", LOCKED_STEPS),
    *_double_points(),
]


@pytest.fixture
async def proxy(shared_database: str) -> AsyncIterator[PostgresProxy]:
    # Shorter than `tmp_path`: a socket's path has a limit.
    folder = Path(tempfile.mkdtemp(prefix="proxy-"))
    async with PostgresProxy(folder, shared_database) as proxy:
        yield proxy
    shutil.rmtree(folder)


class Batch:
    """Six commands in one commit: five submissions, and a refusal of one with a key."""

    def __init__(self, account_id: Any, *, locked: bool) -> None:
        record = KeyRecord(key=b"k", fingerprint=b"f", status=202, body=b"")
        self.accepted = [commands.submit(account_id) for _ in range(4)]
        self.accepted.append(commands.submit(account_id, find=find_nothing if locked else None))
        self.refused = commands.submit(account_id, amount=99, key=b"k", record=lambda _: record)

    @property
    def decisions(self) -> list[Decision]:
        return [self.refused, *self.accepted]

    async def execute(self, committer: Committer) -> list[Any]:
        """Outcomes, the refused one's first."""
        async with asyncio.timeout(CALLER_SECONDS_MAX):
            return await asyncio.gather(
                *(committer.execute(decision) for decision in self.decisions),
                return_exceptions=True,
            )


async def _account(database: str) -> Any:
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=50))
    return account_id


@pytest.mark.parametrize(("path", "faults"), POINTS)
async def test_a_fault_at_any_step_is_not_noticed_by_any_caller(
    shared_database: str, proxy: PostgresProxy, path: str, faults: tuple[Fault, ...]
) -> None:
    account_id = await _account(shared_database)
    batch = Batch(account_id, locked=path == "locked")
    async with running(proxy.dsn, commit_seconds_max=DEAF_SECONDS) as committer:
        proxy.arm(*faults)
        outcomes = await batch.execute(committer)
        assert proxy.struck == list(faults), proxy.steps
        assert [type(o) for o in outcomes] == [InsufficientCredits, *[Committed] * 5]
        # And nothing is left behind that would harm the next one.
        after = commands.submit(account_id)
        await committer.execute(after)
    books = Books(shared_database).verify()
    done = [decision.command_id for decision in (*batch.accepted, after)]
    books.verify_commands(done, [batch.refused.command_id])
    at = dict(zip(books.positions, books.events, strict=True))
    for committed in outcomes[1:]:
        assert at[committed.position] == committed.events[-1]


async def test_the_named_steps_are_all_there_are(
    shared_database: str, proxy: PostgresProxy
) -> None:
    """So that a new statement cannot come in without its faults."""
    async with running(proxy.dsn) as committer:
        for locked, steps in ((False, FREE_ORDER), (True, LOCKED_STEPS)):
            account_id = await _account(shared_database)
            proxy.steps.clear()
            await Batch(account_id, locked=locked).execute(committer)
            # Before a statement's first use it is prepared: a step without a name of its own.
            assert [step for step in proxy.steps if step != "other"] == list(steps)
    assert proxy.steps.count("other") <= len(LOCKED_STEPS)


async def test_a_statement_that_waits_for_the_lock_dies_with_its_connection(
    shared_database: str, proxy: PostgresProxy
) -> None:
    """Otherwise it would commit as soon as the lock is free, behind our back."""
    account_id = await _account(shared_database)
    decision = commands.submit(account_id)
    with psycopg.connect(shared_database, autocommit=True) as other:
        async with running(proxy.dsn) as committer:
            other.execute("SELECT pg_advisory_lock(151363045)")
            proxy.arm(Fault("append_batch", "before", "orphan"))
            caller = asyncio.create_task(committer.execute(decision))
            # The new connection's statement waits too: the old one's fate is settled.
            while proxy.steps.count("append_batch") < 2 or not _waiting(other):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert _waiting(other) == 1, "only the new statement waits"
            other.execute("SELECT pg_advisory_unlock(151363045)")
            assert type(await caller) is Committed
    assert proxy.late_answer is not None
    assert not proxy.late_success
    Books(shared_database).verify().verify_commands([decision.command_id])


def _waiting(connection: psycopg.Connection[Any]) -> int:
    """Sessions of this database that wait for the log's lock."""
    return len(connection.execute(f"{LOG_LOCKS} AND NOT granted".encode()).fetchall())


async def test_a_statement_that_arrives_late_finds_nobody_to_run_it(
    shared_database: str, proxy: PostgresProxy
) -> None:
    """It was on its way when its sender gave up, and comes just after it was looked for."""
    account_id = await _account(shared_database)
    decision = commands.submit(account_id)
    async with running(proxy.dsn, commit_seconds_max=DEAF_SECONDS) as committer:
        proxy.arm(Fault("append_batch", "before", "late"), Fault("look_up", "after", "release"))
        committed = await committer.execute(decision)
    assert len(committed.events) == 2
    assert not proxy.late_success
    Books(shared_database).verify().verify_commands([decision.command_id])


# The database stays away


@pytest.mark.parametrize(
    ("fault", "error", "written"),
    [
        (Fault("select_tails", "before", "cut"), Unavailable, False),
        (Fault("append_batch", "before", "cut"), OutcomeUnknown, False),
        (Fault("append_batch", "after", "cut"), OutcomeUnknown, True),
        (Fault("append_batch", "after", "silence"), OutcomeUnknown, True),
    ],
    ids=str,
)
async def test_callers_are_told_the_truth_when_the_database_stays_away(
    shared_database: str,
    proxy: PostgresProxy,
    fault: Fault,
    error: type[Exception],
    *,
    written: bool,
) -> None:
    account_id = await _account(shared_database)
    decision = commands.submit(account_id)
    async with running(
        proxy.dsn, commit_seconds_max=DEAF_SECONDS, reconnect_seconds_max=0.5, batch_commands_max=1
    ) as committer:
        proxy.arm(fault)
        proxy.refusing = True
        began = time.monotonic()
        later = [commands.submit(account_id) for _ in range(3)]
        async with asyncio.timeout(CALLER_SECONDS_MAX):
            first, *others = await asyncio.gather(
                *(committer.execute(d) for d in (decision, *later)), return_exceptions=True
            )
        assert time.monotonic() - began >= 0.5
        assert type(first) is error
        assert {type(other) for other in others} == {Unavailable}
        assert len({id(other) for other in others}) == 3, "each caller has its own exception"
        proxy.refusing = False
        again = commands.submit(account_id)
        await committer.execute(again)
    done = [again.command_id, *([decision.command_id] if written else [])]
    Books(shared_database).verify().verify_commands(done, [d.command_id for d in later])
    assert (decision.command_id in Books(shared_database).command_ids) is written


@pytest.mark.parametrize("moment", get_args(Moment))
async def test_an_answer_that_comes_too_late_to_try_again_is_still_looked_up(
    shared_database: str, proxy: PostgresProxy, moment: Moment
) -> None:
    account_id = await _account(shared_database)
    decision = commands.submit(account_id)
    async with running(
        proxy.dsn, commit_seconds_max=DEAF_SECONDS, reconnect_seconds_max=0.2
    ) as committer:
        proxy.arm(Fault("append_batch", moment, "silence"))
        try:
            outcome: Any = await committer.execute(decision)
        except Unavailable as error:
            outcome = error
    written = moment == "after"
    assert type(outcome) is (Committed if written else Unavailable)
    assert (decision.command_id in Books(shared_database).verify().command_ids) is written


@pytest.mark.parametrize("moment", get_args(Moment))
async def test_a_key_alone_is_answered_from_the_log_after_a_fault(
    shared_database: str, proxy: PostgresProxy, moment: Moment
) -> None:
    """A command without events leaves nothing to look for but its key."""
    key = new_id().bytes
    record = KeyRecord(key=key, fingerprint=b"f", status=200, body=b"")
    decision = commands.decision(lambda _, __: (), key=key, record=lambda _: record)
    async with running(proxy.dsn) as committer:
        proxy.arm(Fault("append_batch", moment, "cut"))
        committed = await committer.execute(decision)
        again = await committer.execute(decision)
    assert (committed.replayed is not None) is (moment == "after")
    assert again.replayed == record


async def test_a_key_alone_is_in_doubt_when_there_is_no_time_to_ask_again(
    proxy: PostgresProxy,
) -> None:
    key = new_id().bytes
    record = KeyRecord(key=key, fingerprint=b"f", status=200, body=b"")
    decision = commands.decision(lambda _, __: (), key=key, record=lambda _: record)
    async with running(
        proxy.dsn, commit_seconds_max=DEAF_SECONDS, reconnect_seconds_max=0.2
    ) as committer:
        proxy.arm(Fault("append_batch", "after", "silence"))
        with pytest.raises(OutcomeUnknown):
            await committer.execute(decision)
        again = await committer.execute(decision)
    assert again.replayed == record


async def test_a_command_cancelled_in_flight_completes_through_a_fault(
    shared_database: str, proxy: PostgresProxy
) -> None:
    account_id = await _account(shared_database)
    decision = commands.submit(account_id)
    async with running(proxy.dsn, commit_seconds_max=DEAF_SECONDS) as committer:
        proxy.arm(Fault("append_batch", "before", "silence"))
        caller = asyncio.create_task(committer.execute(decision))
        while not proxy.struck:  # noqa: ASYNC110 - the relay runs in this loop
            await asyncio.sleep(0.005)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        after = commands.submit(account_id)
        await committer.execute(after)
    Books(shared_database).verify().verify_commands([decision.command_id, after.command_id])
