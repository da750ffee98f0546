"""Snapshots are taken beside the commits, shorten loading, and may be lost or torn."""

from __future__ import annotations

import asyncio
from uuid import UUID

import psycopg
import pytest

from adapters.committer import Committer
from adapters.mapper import EventMapper
from adapters.snapshots import SnapshotWriter
from domain import ledger
from domain.aggregate import SNAPSHOT_EVENTS
from domain.errors import InsufficientCredits
from domain.event import Event
from tests.fault import commands
from tests.fault.books import Books
from tests.fault.commands import new_id, open_account
from tests.fault.writers import running

HOLDS = 2 * SNAPSHOT_EVENTS + 100


async def _write(dsn: str, account_id: UUID) -> None:
    """A ledger of `HOLDS` + 2 events, whose snapshots are written when this returns."""
    async with running(dsn) as committer:
        await committer.execute(open_account(account_id, amount=HOLDS + 1))
        for _ in range(HOLDS // 100):
            await asyncio.gather(
                *(committer.execute(commands.hold(account_id)) for _ in range(100))
            )


def _snapshots(dsn: str) -> list[tuple[int, str, bytes]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT originator_version, topic, state FROM tallystick_snapshots"
            " ORDER BY originator_version"
        ).fetchall()


async def _spend_the_last(committer: Committer, account_id: UUID) -> None:
    await committer.execute(commands.hold(account_id))
    with pytest.raises(InsufficientCredits):
        await committer.execute(commands.hold(account_id))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Topics that were loaded."""
    topics: list[str] = []
    decode = EventMapper.decode

    def noted(mapper: EventMapper, topic: str, state: bytes) -> Event:
        topics.append(topic)
        return decode(mapper, topic, state)

    monkeypatch.setattr(EventMapper, "decode", noted)
    return topics


async def test_a_snapshot_and_the_tail_are_the_fold_of_all(database: str) -> None:
    """I9, at each snapshot's version."""
    account_id = new_id()
    await _write(database, account_id)
    books = Books(database).verify()
    rows = _snapshots(database)
    assert [row[0] // SNAPSHOT_EVENTS for row in rows] == [1, 2]
    for version, topic, state in rows:
        folded = None
        for event in books.events[:version]:
            folded = ledger.evolve(folded, event)
        restored = ledger.evolve(None, EventMapper().decode(topic, state))
        assert restored == folded
        for event in books.events[version:]:
            restored = ledger.evolve(restored, event)
        assert restored == books.ledgers[account_id]


async def test_loading_reads_the_newest_snapshot_and_what_came_after(
    database: str, decoded: list[str]
) -> None:
    account_id = new_id()
    await _write(database, account_id)
    decoded.clear()
    newest = _snapshots(database)[-1][0]
    async with running(database) as committer:
        await _spend_the_last(committer, account_id)
    assert decoded == ["ledger.snapshot.v1"] + ["credits.held.v1"] * (HOLDS + 2 - newest)
    Books(database).verify()


@pytest.mark.parametrize(
    "loss", ["DELETE FROM tallystick_snapshots", "UPDATE tallystick_snapshots SET state = 'torn'"]
)
async def test_losing_snapshots_loses_nothing(database: str, loss: str) -> None:
    account_id = new_id()
    await _write(database, account_id)
    with psycopg.connect(database) as connection:
        connection.execute(loss.encode())
    async with running(database) as committer:
        await _spend_the_last(committer, account_id)
    Books(database).verify()


async def test_a_snapshot_that_cannot_be_written_harms_nobody(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(SnapshotWriter, "_event", fail)
    account_id = new_id()
    await _write(database, account_id)
    assert _snapshots(database) == []
    Books(database).verify()
