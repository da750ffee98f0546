"""The same reference grants once, whoever asks, and no ledger has to remember it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import psycopg
import pytest
from msgspec.structs import replace

from adapters.clock import DatabaseClock
from adapters.committer import Committer
from adapters.mapper import EventMapper
from adapters.queries import Queries
from adapters.reusable_results import ReusableResults
from adapters.verification import compare_inline
from domain import ledger
from domain.errors import InsufficientCredits, ReferenceReused
from domain.event import CREDITS_MAX
from domain.ledger import AdjustCredits, CaptureHold, CreditLedger, GrantCredits, VoidGrant
from domain.reference import reference_id
from service.command_bus import CommandBus
from service.identifiers import new_id
from service.ledgers import Asked, Ledgers
from tests.integration.bus import CREDITS, ORIGIN, Bench, opened

DAY = timedelta(days=1)


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with opened(database, []) as made:
        yield made


def _ledgers(bench: Bench, bus: CommandBus | None = None) -> Ledgers:
    return Ledgers(bus or bench.bus, Queries(bench.pool))


def _grant(reference: str, amount: int = 5) -> GrantCredits:
    return GrantCredits(grant_id=new_id(), kind="paid", amount=amount, source_ref=reference)


def _adjustment(reference: str, amount: int) -> AdjustCredits:
    return AdjustCredits(
        adjustment_id=new_id(), amount=amount, source_ref=reference, reason="counted twice"
    )


def _asked(bench: Bench) -> Asked:
    return Asked(account_id=bench.account_id, origin=ORIGIN)


async def _state(bench: Bench) -> CreditLedger:
    return await _ledgers(bench).state(bench.account_id)


async def test_a_reference_is_used_once_by_grants_and_adjustments_alike(bench: Bench) -> None:
    ledgers = _ledgers(bench)
    again = replace(_grant("r"), reason="sent again by somebody else")
    for command in (_grant("r"), _grant("r"), again):
        await ledgers.carry_out(_asked(bench), command)
    for other in (_grant("r", 7), _adjustment("r", 5), _adjustment("r", -5)):
        with pytest.raises(ReferenceReused):
            await ledgers.carry_out(_asked(bench), other)
    assert bench.money() == (CREDITS + 5, 0, 0)
    await ledgers.carry_out(_asked(bench), _adjustment("s", -4))
    await ledgers.carry_out(_asked(bench), _adjustment("s", -4))
    assert bench.money() == (CREDITS + 1, 0, 0)
    assert bench.topics(reference_id(bench.account_id, "r")) == ["reference.used"]
    assert not (await _state(bench)).source_refs
    assert (await compare_inline(bench.dsn, EventMapper())).differences == ()


async def test_one_that_was_refused_is_not_used_up(bench: Bench) -> None:
    ledgers = _ledgers(bench)
    with pytest.raises(InsufficientCredits):
        await ledgers.carry_out(_asked(bench), _adjustment("r", -CREDITS - 1))
    await ledgers.carry_out(_asked(bench), _adjustment("r", -1))
    assert bench.money() == (CREDITS - 1, 0, 0)


async def test_one_that_was_used_is_quiet_whatever_has_become_of_the_balance(
    bench: Bench,
) -> None:
    """Its first answer was lost, say, and now there is not enough for it, or too much."""
    ledgers = _ledgers(bench)
    for _ in range(2):
        await ledgers.carry_out(_asked(bench), _adjustment("down", -CREDITS + 10))
    for _ in range(2):
        await ledgers.carry_out(_asked(bench), _grant("most", CREDITS_MAX - CREDITS))
    assert bench.money() == (CREDITS_MAX - CREDITS + 10, 0, 0)


async def _spend(bench: Bench, given: GrantCredits) -> None:
    """All of it, before all else."""
    ledgers, hold_id = _ledgers(bench), new_id()
    await ledgers.hold(_asked(bench), hold_id, amount=given.amount, reason="r")
    await ledgers.carry_out(_asked(bench), CaptureHold(hold_id=hold_id, amount=None))


async def _follow(bench: Bench, given: GrantCredits) -> None:
    june = replace(_grant("june"), rolls_over=given.grant_id, rollover_max=3)
    await _ledgers(bench).carry_out(_asked(bench), june)


async def _void(bench: Bench, given: GrantCredits) -> None:
    void = VoidGrant(grant_id=given.grant_id, reason="r")
    await _ledgers(bench).carry_out(_asked(bench), void)


async def _expire(bench: Bench, given: GrantCredits) -> None:
    query = "SELECT pg_sleep_until(%s + interval '20 ms')"
    async with await psycopg.AsyncConnection.connect(bench.dsn) as connection:
        await connection.execute(query, (given.expires_at,))
    assert (await _ledgers(bench).settle_due(10)).count == 1


async def _close_books(bench: Bench, _: GrantCredits) -> None:
    await _ledgers(bench).close_books(_asked(bench), "2020-01", "r")


@pytest.mark.parametrize("happens", [_spend, _follow, _void, _expire, _close_books])
async def test_a_reference_knows_its_content_whatever_has_become_of_the_grant(
    bench: Bench, happens: Callable[[Bench, GrantCredits], Awaitable[None]]
) -> None:
    with psycopg.connect(bench.dsn) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    ends = row[0] + (timedelta(milliseconds=300) if happens is _expire else DAY)
    given = replace(_grant("may"), priority=0, expires_at=ends)
    ledgers = _ledgers(bench)
    await ledgers.carry_out(_asked(bench), given)
    await happens(bench, given)
    before = bench.money()
    again = replace(given, grant_id=new_id())
    assert (await ledgers.carry_out(_asked(bench), again)).events == ()
    late = replace(again, amount=6, expires_at=ends + DAY)
    with pytest.raises(ReferenceReused) as refusal:
        await ledgers.carry_out(_asked(bench), late)
    assert refusal.value.first == {"amount": 5, "expires_at": ends}
    assert bench.money() == before


async def test_what_is_remembered_from_before_counts(bench: Bench) -> None:
    """The ledger's own memory, of events from before references had streams."""
    await bench.bus.execute(
        lambda states, meta: ledger.decide(states[bench.account_id], _grant("old"), meta),
        ORIGIN,
        streams=(_asked(bench).stream,),
    )
    assert set((await _state(bench)).source_refs) == {"old"}
    await _ledgers(bench).carry_out(_asked(bench), _grant("old"))
    assert bench.money() == (CREDITS + 5, 0, 0)


async def test_two_writers_that_grant_the_same_old_references_at_once_grant_each_once(
    bench: Bench,
) -> None:
    """The second writer knows neither the grants nor the references of the first."""
    references = [f"r{number}" for number in range(40)]
    committer = Committer(bench.dsn, EventMapper(), DatabaseClock())
    await committer.start()
    try:
        other = CommandBus(committer, bench.types, ReusableResults(bench.pool))
        both = [_ledgers(bench), _ledgers(bench, other)]
        for ledgers in both:
            await ledgers.carry_out(_asked(bench), _grant("first of all", 1))
        await asyncio.gather(
            *(
                ledgers.carry_out(_asked(bench), _grant(reference))
                for reference in references
                for ledgers in (*both, *both)
            )
        )
    finally:
        await committer.close()
    assert bench.money() == (CREDITS + 1 + 5 * len(references), 0, 0)
    assert not (await _state(bench)).source_refs
    assert (await compare_inline(bench.dsn, EventMapper())).differences == ()
