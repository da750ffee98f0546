"""Processes commit to the same accounts while a reader follows: nothing torn, nothing lost."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections import defaultdict
from itertools import groupby, pairwise
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from adapters.application import TallystickLog
from adapters.log import Recorded
from tests.integration.decisions import grant, open_account, running_committer
from tests.integration.readers import Follower, following, open_log
from tests.integration.rivals import launch

PROCESSES = 3
CLIENTS = 16
TURNS = 8
COMMANDS = CLIENTS * TURNS * 4
"""Of each process."""
ACCOUNTS = 3
SHAPES = {
    ("account.opened",),
    ("credits.granted",),
    ("task.submitted", "credits.held"),
    ("task.started",),
    ("task.completed", "credits.captured"),
}


class Acknowledged(msgspec.Struct, frozen=True):
    """A command's answer: the position of its last event, and how many events it has."""

    position: int
    events: int


class Outcome(msgspec.Struct):
    """What one process said before it ended."""

    acknowledged: dict[UUID, Acknowledged] = {}
    conflicts: int = 0


@pytest.mark.parametrize("killed", [0, 1], ids=["all live", "one killed"])
async def test_commands_of_all_processes_are_whole_in_order_and_there(
    database: str, killed: int
) -> None:
    accounts = await _open_accounts(database)
    async with open_log(database, poll_seconds=0.1) as log, following(log) as reader:
        # One that is to be killed has far too much to do to end before that.
        turns = [TURNS * 100 if number < killed else TURNS for number in range(PROCESSES)]
        common = [database, *map(str, accounts), f"--clients={CLIENTS}"]
        arguments = [[*common, f"--turns={number}"] for number in turns]
        processes = await launch("tests.integration.hot_account_clients", arguments)
        outcomes = await asyncio.gather(
            *(_outcome(one, kill=number < killed) for number, one in enumerate(processes))
        )
        await reader.reach(await log.head())
    acknowledged = {key: value for one in outcomes for key, value in one.acknowledged.items()}
    assert sum(one.conflicts for one in outcomes) > 0, "nobody got in anybody's way"
    assert len(acknowledged) >= (PROCESSES - killed / 2) * COMMANDS
    assert killed or len(acknowledged) == PROCESSES * COMMANDS

    _assert_nothing_missed(database, reader.seen)
    _assert_versions_contiguous(reader.seen)
    _assert_commands_whole(reader)
    _assert_all_there(acknowledged, reader.seen)
    _assert_books_balance(database, accounts)


async def _open_accounts(database: str) -> list[UUID]:
    accounts = [uuid4() for _ in range(ACCOUNTS)]
    async with running_committer(database) as committer:
        for account_id in accounts:
            await committer.execute(open_account(account_id))
            await committer.execute(grant(account_id, 10_000))
    return accounts


async def _outcome(process: Process, *, kill: bool) -> Outcome:
    """Hear a process out; with `kill` until half of its commands were acknowledged."""
    outcome = Outcome()
    assert process.stdout is not None
    async for line in process.stdout:
        first, *rest = line.decode().split()
        if first == "conflicts":
            outcome.conflicts = int(rest[0])
            continue
        outcome.acknowledged[UUID(first)] = Acknowledged(int(rest[0]), int(rest[1]))
        if kill and len(outcome.acknowledged) == COMMANDS // 2:
            process.kill()
    assert await process.wait() == (-9 if kill else 0)
    return outcome


def _assert_nothing_missed(database: str, seen: list[Recorded]) -> None:
    positions = [recorded.position for recorded in seen]
    assert all(before < after for before, after in pairwise(positions))
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT notification_id FROM tallystick_events ORDER BY 1")
        assert positions == [position for (position,) in rows]


def _assert_versions_contiguous(seen: list[Recorded]) -> None:
    versions: dict[UUID, list[int]] = defaultdict(list)
    for recorded in seen:
        versions[recorded.event.originator_id].append(recorded.event.originator_version)
    for stream in versions.values():
        assert stream == list(range(1, len(stream) + 1))


def _assert_commands_whole(reader: Follower) -> None:
    """No batch of the reader ever ended within a command, and no two commands are interleaved."""
    commands: list[UUID] = []
    for batch in reader.batches:
        for command, events in groupby(batch, key=lambda one: one.event.meta.causation_id):
            shape = tuple(one.event.TOPIC for one in events)
            assert shape in SHAPES
            commands.append(command)
    assert len(commands) == len(set(commands))


def _assert_all_there(acknowledged: dict[UUID, Acknowledged], seen: list[Recorded]) -> None:
    there: dict[UUID, Acknowledged] = {}
    for recorded in seen:
        command = recorded.event.meta.causation_id
        events = there[command].events + 1 if command in there else 1
        there[command] = Acknowledged(recorded.position, events)
    missing = {key for key, answer in acknowledged.items() if there.get(key) != answer}
    assert missing == set()


def _assert_books_balance(database: str, accounts: list[UUID]) -> None:
    """The fold of the log is the read model that was written with it."""
    query = "SELECT version, granted, available, held, captured, active FROM accounts WHERE id = %s"
    with psycopg.connect(database) as connection, TallystickLog.from_dsn(database) as log:
        for account_id in accounts:
            balance = log.ledger(account_id).balance
            assert balance.granted == balance.available + balance.held + balance.captured
            row = connection.execute(query, (account_id,)).fetchone()
            assert row == (
                *(balance.version, balance.granted, balance.available),
                *(balance.held, balance.captured, balance.active),
            )
