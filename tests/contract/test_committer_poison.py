"""A command that cannot be stored, decided or read fails alone; its neighbours are committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from msgspec import Raw
from msgspec.structs import replace

from adapters import committer as committers
from adapters.committer import Committer
from adapters.decision import Committed, Decision, KeyRecord, States, Tracking
from adapters.writer_session import WriterSession
from domain import ledger
from domain.aggregate import AGGREGATE_WITH, LEDGERS, TASKS, Aggregate, Stream
from domain.errors import CommandRejected, InsufficientCredits, InvalidInput, NotFound
from domain.event import Event, Metadata
from domain.ledger_events import CreditsReleased
from domain.task import Task
from tests.fault import commands
from tests.fault.books import Books
from tests.fault.commands import new_id, open_account
from tests.fault.writers import running

NEIGHBOURS = 100
INCOMPRESSIBLE = bytes(hash((number, "x")) & 255 for number in range(9_000))


class DecideFailed(Exception):
    """A bug in somebody's rule."""


def _raise(*_: object) -> Any:
    raise DecideFailed


async def _find_failing(cursor: Any, _: object) -> Sequence[Stream]:
    await cursor.execute("SELECT no_such_column FROM tasks")
    return ()


async def _find_refusing(_: object, __: object) -> Sequence[Stream]:
    raise NotFound("There is no such thing.")


def _keyed(account_id: UUID, **fields: Any) -> Decision:
    record: dict[str, Any] = {"key": b"k", "fingerprint": b"f", "status": 200, "body": b""} | fields
    return commands.submit(account_id, key=record["key"], record=lambda _: KeyRecord(**record))


def _evolve_failing(account_id: UUID) -> Decision:
    """Decides the release of a hold that the ledger does not have."""
    grant = commands.grant(account_id, 1)
    return commands.decision(
        lambda states, meta: [
            CreditsReleased(
                originator_id=account_id,
                originator_version=event.originator_version,
                meta=meta,
                hold_id=new_id(),
                task_id=new_id(),
                amount=1,
                slices=(),
            )
            for event in grant.decide(states, meta)
        ],
        streams=(Stream(LEDGERS, account_id),),
    )


def _elsewhere(account_id: UUID) -> Decision:
    grant = commands.grant(account_id, 1)
    return commands.decision(
        lambda states, meta: [
            commands.replaced(e, originator_id=new_id(), originator_version=1)
            for e in grant.decide(states, meta)
        ],
        streams=(Stream(LEDGERS, account_id),),
    )


Poison = Callable[[UUID], Decision]
POISONS: dict[str, tuple[Poison, type[Exception]]] = {
    "nul in a column": (lambda a: commands.submit(a, project="a\0b"), CommandRejected),
    "lone surrogate": (lambda a: commands.submit(a, project="\ud800"), CommandRejected),
    "over-long string": (lambda a: commands.submit(a, project="x" * 201), CommandRejected),
    "credits of 2^63": (lambda a: commands.submit(a, amount=2**63), InsufficientCredits),
    "grant of 2^63": (lambda a: commands.grant(a, 2**63), InvalidInput),
    "not JSON": (lambda a: commands.submit(a, input=Raw(b'{"a":')), CommandRejected),
    "not UTF-8": (lambda a: commands.submit(a, input=Raw(b'{"a":"\xff"}')), CommandRejected),
    "nested 100,000 deep": (
        lambda a: commands.submit(a, input=Raw(b"[" * 100_000 + b"]" * 100_000)),
        CommandRejected,
    ),
    "too many bytes": (
        lambda a: commands.submit(a, input=Raw(b'"%b"' % (b"x" * 300_000))),
        CommandRejected,
    ),
    "status of 2^15": (lambda a: _keyed(a, status=2**15), CommandRejected),
    "key too long for its index": (lambda a: _keyed(a, key=INCOMPRESSIBLE), CommandRejected),
    "body missing": (lambda a: _keyed(a, body=None), CommandRejected),
    "nul in a location": (lambda a: _keyed(a, location="\0"), CommandRejected),
    "position of 2^63": (
        lambda a: commands.submit(a, tracking=Tracking(consumer="c", position=2**63)),
        CommandRejected,
    ),
    "nul in a consumer": (
        lambda a: commands.submit(a, tracking=Tracking(consumer="\0", position=1)),
        CommandRejected,
    ),
    "decide raising": (lambda _: commands.decision(_raise), DecideFailed),
    "evolve raising": (_evolve_failing, KeyError),
    "no opening of an unnamed stream": (_elsewhere, AssertionError),
    "find raising": (lambda a: commands.submit(a, find=_find_refusing), NotFound),
    "find failing": (lambda a: commands.submit(a, find=_find_failing), psycopg.ProgrammingError),
}


@pytest.fixture
def one_connection(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often the committer connected: a poison is no reason to."""
    connected: list[bool] = []
    connect = WriterSession._connect

    async def counted(session: WriterSession) -> Any:
        connected.append(True)
        return await connect(session)

    monkeypatch.setattr(WriterSession, "_connect", counted)
    return connected


async def _poisoned(
    committer: Committer, account_id: UUID, poison: Decision
) -> tuple[Any, list[Any], list[Decision]]:
    """Outcomes of a poison and of its neighbours, all in one batch."""
    neighbours = [commands.submit(account_id) for _ in range(NEIGHBOURS)]
    middle = NEIGHBOURS // 2
    decisions = [*neighbours[:middle], poison, *neighbours[middle:]]
    outcomes = await asyncio.gather(
        *(committer.execute(decision) for decision in decisions), return_exceptions=True
    )
    return outcomes.pop(middle), outcomes, neighbours


@pytest.mark.parametrize("name", POISONS)
async def test_a_poison_fails_alone(database: str, name: str, one_connection: list[bool]) -> None:
    make, error = POISONS[name]
    account_id = new_id()
    async with running(database, batch_bytes_max=200_000) as committer:
        await committer.execute(open_account(account_id, amount=1_000))
        poison = make(account_id)
        outcome, others, neighbours = await _poisoned(committer, account_id, poison)
    assert type(outcome) is error or isinstance(outcome, error), outcome
    assert {type(other) for other in others} == {Committed}
    Books(database).verify().verify_commands(
        [decision.command_id for decision in neighbours], [poison.command_id]
    )
    assert one_connection == [True]


async def test_an_error_after_the_commit_repeats_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = new_id()
    broken = replace(TASKS, ended=_raise)
    kinds: dict[type[Any], Aggregate] = {**AGGREGATE_WITH, Task: broken}
    monkeypatch.setattr(committers, "AGGREGATE_WITH", kinds)
    poison = commands.submit(account_id)

    def grant_again(states: States, meta: Metadata) -> Sequence[Event]:
        """Would be another grant each time."""
        return ledger.decide(states[account_id], commands.grant_of(1), meta)

    grant = commands.decision(grant_again, streams=(Stream(LEDGERS, account_id),))
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1_000))
        outcomes = await asyncio.gather(*(committer.execute(d) for d in (poison, grant)))
        # The next one, in case the last is being tried again.
        await committer.execute(commands.hold(account_id))
    assert {type(outcome) for outcome in outcomes} == {Committed}
    assert Books(database).verify().ledgers[account_id].balance.granted == 1_001


async def test_an_unreadable_stream_fails_only_its_own_commands(database: str) -> None:
    account_id, broken_id = new_id(), new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1_000))
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO tallystick_events (originator_id, originator_version, topic, state)"
            " VALUES (%s, 1, 'account.opened.v1', 'torn')",
            (broken_id,),
        )
    async with running(database) as committer:
        outcome, others, _ = await _poisoned(committer, account_id, commands.submit(broken_id))
    assert "Cannot load a stored event" in str(outcome)
    assert {type(other) for other in others} == {Committed}


async def test_a_batch_too_large_for_one_statement_is_parted(database: str) -> None:
    account_id = new_id()
    large = Raw(b'"%b"' % (b"x" * 50_000))
    async with running(database, batch_bytes_max=200_000) as committer:
        await committer.execute(open_account(account_id, amount=1_000))
        decisions = [commands.submit(account_id, input=large) for _ in range(20)]
        await asyncio.gather(*(committer.execute(decision) for decision in decisions))
        assert 7 <= committer.batches <= 17
    Books(database).verify().verify_commands([decision.command_id for decision in decisions])
