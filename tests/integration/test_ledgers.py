"""Time changes ledgers by itself: what is due is entered once, by whoever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from adapters.mapper import EventMapper
from adapters.queries import Queries
from adapters.verification import compare_inline
from domain import ledger
from domain.aggregate import LEDGERS, Stream
from domain.errors import HoldNotFound
from domain.ledger import GrantCredits, HoldCredits, LedgerCommand
from domain.plan import Plan
from service.identifiers import new_id
from service.ledgers import Ledgers
from tests.integration.bus import CREDITS, ORIGIN, Bench, opened

PLAN = Plan(name="unlimited")


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, []) as made:
        yield made


async def _do(bench: Bench, command: LedgerCommand) -> list[str]:
    stream = Stream(LEDGERS, bench.account_id)
    committed = await bench.bus.execute(
        lambda states, meta: ledger.decide(states[bench.account_id], command, meta),
        ORIGIN,
        streams=(stream,),
    )
    return [event.TOPIC for event in committed.events]


async def _dated(bench: Bench) -> UUID:
    """A grant of 30 and a hold of 20 out of it, both due in a moment of the database's clock."""
    with psycopg.connect(bench.dsn) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    at = row[0] + timedelta(milliseconds=200)
    grant = GrantCredits(
        grant_id=new_id(), kind="promotional", amount=30, source_ref="r", expires_at=at, priority=0
    )
    await _do(bench, grant)
    hold_id = new_id()
    hold = HoldCredits(hold_id=hold_id, task_id=new_id(), amount=20, plan=PLAN, expires_at=at)
    await _do(bench, hold)
    return hold_id


def _account(bench: Bench) -> tuple[int, ...]:
    query = "SELECT available, held, expired, active FROM accounts WHERE id = %s"
    with psycopg.connect(bench.dsn) as connection:
        row = connection.execute(query, (bench.account_id,)).fetchone()
    assert row is not None
    return row


async def _until_due(bench: Bench) -> None:
    query = "SELECT pg_sleep_until(max(due_at) + interval '20 ms') FROM accounts"
    async with await psycopg.AsyncConnection.connect(bench.dsn) as connection:
        await connection.execute(query)


async def test_what_is_due_is_settled_once_however_many_look(bench: Bench) -> None:
    await _dated(bench)
    assert _account(bench) == (CREDITS + 10, 20, 0, 1)
    assert (await Ledgers(bench.bus, Queries(bench.pool)).settle_due(10)).count == 0
    await _until_due(bench)
    settled = await asyncio.gather(
        *(Ledgers(bench.bus, Queries(bench.pool)).settle_due(10) for _ in range(4))
    )
    assert sum(swept.count for swept in settled) == 1
    assert _account(bench) == (CREDITS, 0, 30, 0)
    assert (await Ledgers(bench.bus, Queries(bench.pool)).settle_due(10)).count == 0
    comparison = await compare_inline(bench.dsn, EventMapper())
    assert comparison.differences == ()


async def test_a_sweep_is_of_bounded_size_and_the_next_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.ledgers.SWEEP_EVENTS_MAX", 1)
    await _dated(bench)
    await _do(bench, _promised(bench))
    await _until_due(bench)
    ledgers = Ledgers(bench.bus, Queries(bench.pool))
    seen: list[tuple[int, ...]] = []
    while (swept := await ledgers.settle_due(10)).more:
        assert swept.count == 1
        seen.append(_account(bench))
    assert (swept.count, len(seen) > 1) == (0, True)
    assert seen[-1] == (CREDITS, 0, 37, 0)
    assert (await compare_inline(bench.dsn, EventMapper())).differences == ()


def _promised(bench: Bench) -> GrantCredits:
    """One that is gone a moment before all else."""
    with psycopg.connect(bench.dsn) as connection:
        row = connection.execute("SELECT min(due_at) FROM accounts").fetchone()
    assert row is not None
    ends = row[0] - timedelta(milliseconds=1)
    return GrantCredits(
        grant_id=new_id(), kind="promotional", amount=7, source_ref="s", expires_at=ends
    )


async def test_a_command_settles_what_is_due_by_itself(bench: Bench) -> None:
    hold_id = await _dated(bench)
    await _until_due(bench)
    assert await _do(bench, ledger.FreezeAccount(reason="r")) == [
        *("credits.expired", "credits.hold_expired", "credits.expired"),
        "account.frozen",
    ]
    assert _account(bench) == (CREDITS, 0, 30, 0)
    with pytest.raises(HoldNotFound) as refusal:
        await _do(bench, ledger.CaptureHold(hold_id=hold_id, amount=1))
    assert refusal.value.hold_id == hold_id
