"""Idempotency keys and consumers' positions: written with the events, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.committer import Committer
from adapters.decision import AlreadyTracked, Committed, Decision, KeyRecord, States, Tracking
from domain.aggregate import LEDGERS, Stream
from domain.errors import CommandRejected, InsufficientCredits
from tests.fault import commands
from tests.fault.books import Books
from tests.fault.commands import new_id, open_account
from tests.fault.writers import running

KEYS = 1_000
SENDS = 20


def _keyed(
    account_id: UUID, key: bytes, *, amount: int = 1, task_id: UUID | None = None
) -> Decision:
    """A submission that answers with its task's id."""
    task_id = task_id or new_id()

    def record(states: States) -> KeyRecord:
        body = str(states[task_id].id).encode()
        return KeyRecord(key=key, fingerprint=b"f", status=202, body=body, location="/here")

    return commands.submit(account_id, task_id, amount=amount, key=key, record=record)


def _stored(dsn: str) -> dict[bytes, bytes]:
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute("SELECT key, body FROM idempotency_keys").fetchall())


def _positions(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute("SELECT consumer, position FROM tracking").fetchall())


async def _executed(committer: Committer, *decisions: Decision) -> list[Any]:
    return await asyncio.gather(
        *(committer.execute(decision) for decision in decisions), return_exceptions=True
    )


async def test_many_sends_of_many_keys_by_two_writers_are_one_effect_each(database: str) -> None:
    account_id = new_id()
    keys = [number.to_bytes(32) for number in range(KEYS)]
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=KEYS))

        async def send(key: bytes) -> list[Any]:
            """All at once, half by each."""
            writers = (one, two) * (SENDS // 2)
            return await asyncio.gather(*(w.execute(_keyed(account_id, key)) for w in writers))

        answers = await asyncio.gather(*(send(key) for key in keys))
    stored = _stored(database)
    assert stored.keys() == set(keys)
    for key, outcomes in zip(keys, answers, strict=True):
        first = [o for o in outcomes if o.replayed is None]
        assert len(first) == 1
        facts = [event.TOPIC for event in first[0].events]
        assert facts[:2] == ["task.submitted", "credits.held"]
        assert facts[2:] in ([], ["credits.exhausted"]), "the last credit's owner is told"
        bodies = {o.replayed.body for o in outcomes if o.replayed is not None}
        assert bodies == {stored[key]} == {str(first[0].events[0].originator_id).encode()}
    books = Books(database).verify()
    assert len(books.tasks) == KEYS
    assert books.ledgers[account_id].balance.available == 0


@pytest.mark.postgres15
async def test_a_replay_gives_the_whole_first_answer(database: str) -> None:
    account_id = new_id()
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=2))
        first = await one.execute(_keyed(account_id, b"k"))
        for committer in (one, two):
            again = await committer.execute(_keyed(account_id, b"k"))
            body = str(first.events[0].originator_id).encode()
            record = KeyRecord(key=b"k", fingerprint=b"f", status=202, body=body, location="/here")
            assert (again.replayed, again.events, again.position) == (record, (), 0)


async def test_the_key_of_a_refused_command_can_be_used_again(database: str) -> None:
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1))
        outcomes = await _executed(
            committer,
            _keyed(account_id, b"k", amount=2),
            _keyed(account_id, b"k", amount=1),
            _keyed(account_id, b"k", amount=1),
        )
        assert committer.batches == 2, "all three shared a commit"
    assert isinstance(outcomes[0], InsufficientCredits)
    assert outcomes[1].replayed is None
    assert outcomes[2].replayed.body == str(outcomes[1].events[0].originator_id).encode()
    assert len(Books(database).verify().tasks) == 1


async def test_a_key_used_elsewhere_beats_a_refusal_that_came_of_it(database: str) -> None:
    """The first send took the last credit in another process; the second is no `402`."""
    account_id = new_id()
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=1))
        await two.execute(_keyed(account_id, b"k"))
        # `one` thinks it can pay for this; the command before it makes it look again.
        outcomes = await _executed(
            one, commands.hold(account_id, 5), _keyed(account_id, b"k", amount=1)
        )
    assert isinstance(outcomes[0], InsufficientCredits)
    assert isinstance(outcomes[1], Committed), outcomes[1]
    assert outcomes[1].replayed is not None


async def test_the_key_of_a_command_without_events_is_kept(database: str) -> None:
    account_id = new_id()

    def nothing(_: States, __: object) -> tuple[()]:
        return ()

    def answer(body: bytes) -> Decision:
        record = KeyRecord(key=b"k", fingerprint=b"f", status=200, body=body)
        return commands.decision(
            nothing,
            streams=(Stream(LEDGERS, account_id),),
            key=b"k",
            record=lambda _: record,
        )

    async with running(database) as committer:
        first, again = await _executed(committer, answer(b"1"), answer(b"2"))
        later = await committer.execute(answer(b"3"))
    assert (first.replayed, first.position) == (None, 0)
    assert again.replayed.body == later.replayed.body == b"1"  # type: ignore[union-attr]
    assert _stored(database) == {b"k": b"1"}


async def test_a_record_of_another_key_is_refused(database: str) -> None:
    account_id = new_id()
    record = KeyRecord(key=b"other", fingerprint=b"f", status=200, body=b"")
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1))
        with pytest.raises(CommandRejected):
            await committer.execute(commands.submit(account_id, key=b"k", record=lambda _: record))
    assert _stored(database) == {}
    assert Books(database).verify().tasks == {}


@pytest.mark.postgres15
async def test_a_position_is_passed_once_by_whichever_writer(database: str) -> None:
    account_id = new_id()
    tracking = Tracking(consumer="settler", position=7)
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=100))
        decisions = [commands.submit(account_id, tracking=tracking) for _ in range(20)]
        outcomes = [
            *await _executed(one, *decisions[:10]),
            *await _executed(two, *decisions[10:]),
        ]
    assert Counter(type(o) for o in outcomes) == {Committed: 1, AlreadyTracked: 19}
    assert _positions(database) == {"settler": 7}
    done = [d.command_id for d, o in zip(decisions, outcomes, strict=True) if type(o) is Committed]
    refused = [d.command_id for d in decisions if d.command_id not in done]
    Books(database).verify().verify_commands(done, refused)


async def test_positions_of_one_consumer_in_one_batch_end_at_the_last(database: str) -> None:
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=100))
        outcomes = await _executed(
            committer,
            *(
                commands.submit(account_id, tracking=Tracking(consumer="c", position=position))
                for position in (1, 2, 2, 5, 4)
            ),
        )
        assert committer.batches == 2, "all shared a commit"
    assert [type(o) for o in outcomes] == [
        Committed,
        Committed,
        AlreadyTracked,
        Committed,
        AlreadyTracked,
    ]
    assert _positions(database) == {"c": 5}


async def test_a_refused_command_moves_no_position(database: str) -> None:
    account_id = new_id()
    tracking = Tracking(consumer="c", position=1)
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1))
        with pytest.raises(InsufficientCredits):
            await committer.execute(commands.submit(account_id, amount=2, tracking=tracking))
        assert _positions(database) == {}
        await committer.execute(commands.submit(account_id, tracking=tracking))
    assert _positions(database) == {"c": 1}


async def test_a_command_without_events_moves_its_position(database: str) -> None:
    def nothing(_: States, __: object) -> tuple[()]:
        return ()

    decision = commands.decision(nothing, tracking=Tracking(consumer="c", position=3))
    async with running(database) as committer:
        committed = await committer.execute(decision)
        assert (committed.events, committed.position) == ((), 0)
        with pytest.raises(AlreadyTracked):
            await committer.execute(decision)
    assert _positions(database) == {"c": 3}
