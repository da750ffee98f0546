"""A ledger as of any version and any time is the fold of its stream up to there, and no further."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from msgspec.structs import replace

from adapters.log import EventLog
from adapters.mapper import EventMapper
from adapters.past_ledgers import PastLedgers
from adapters.pool import open_pool
from adapters.wakeup import Wakeup
from domain import ledger
from domain.event import Event, Metadata
from domain.grants import due_at
from domain.ledger import CreditLedger, SettleDue
from domain.ledger_events import PeriodClosed
from tests.histories import store
from tests.integration.test_stream_plans import nodes_of
from tests.ledger_history import LedgerHistory

NOBODY = UUID(int=0)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def past(database: str) -> AsyncIterator[PastLedgers]:
    async with open_pool(database, 2) as pool:
        mapper = EventMapper()
        yield PastLedgers(pool, mapper, EventLog(pool, mapper, Wakeup(database)))


def keep_snapshots(dsn: str, states: list[CreditLedger], *, spoilt: bool = False) -> None:
    """A snapshot of each of these states."""
    with psycopg.connect(dsn) as connection:
        for state in states:
            meta = Metadata(
                at=state.balance.updated_at,
                actor="snapshots",
                correlation_id=NOBODY,
                causation_id=NOBODY,
            )
            topic, stored = EventMapper().encode(ledger.snapshot(state, meta))
            connection.execute(
                "INSERT INTO tallystick_snapshots VALUES (%s, %s, %s, %s)",
                (state.id, state.version, topic, b"{" if spoilt else stored),
            )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("snapshots", ["none", "some", "spoilt"])
async def test_as_of_every_version_it_is_the_fold_up_to_it(
    database: str, past: PastLedgers, seed: int, snapshots: str
) -> None:
    history = list(LedgerHistory(seed).run(60))
    head = store(database, [event for event, _ in history])
    if snapshots != "none":
        keep_snapshots(database, [s for _, s in history[9::7]], spoilt=snapshots == "spoilt")
    for version, (event, state) in enumerate(history, 1):
        found = await past.at_version(state.id, version)
        assert found is not None
        assert (found.ledger, found.version, found.settled) == (state, version, ())
        assert (found.at, found.position) == (event.meta.at, head - len(history) + version)
    assert await past.at_version(history[0][1].id, len(history) + 1) is None
    assert await past.at_version(UUID(int=1), 1) is None


def _then(history: list[tuple[Event, CreditLedger]], at: Any) -> tuple[int, CreditLedger]:
    """By going through all of it: the last version not later, and what is due by then settled."""
    version, state = [(n, s) for n, (e, s) in enumerate(history, 1) if e.meta.at <= at][-1]
    meta = Metadata(at=at, actor="time", correlation_id=NOBODY, causation_id=NOBODY)
    return version, ledger.evolved(state, ledger.decide(state, SettleDue(), meta))


@pytest.mark.parametrize("seed", range(4))
async def test_as_of_any_time_it_is_what_it_was_then(
    database: str, past: PastLedgers, seed: int
) -> None:
    history = list(LedgerHistory(seed).run(40))
    store(database, [event for event, _ in history])
    keep_snapshots(database, [s for _, s in history[9::7]])
    account_id = history[0][1].id
    began = history[0][0].meta.at
    assert await past.at_time(account_id, began - MICROSECOND) is None
    settled = 0
    for number, (event, _) in enumerate(history):
        for step in (-MICROSECOND, timedelta(0), MICROSECOND, timedelta(hours=2)):
            at = event.meta.at + step
            if at < began:
                continue
            found = await past.at_time(account_id, at)
            assert found is not None
            assert (found.version, found.ledger) == _then(history, at), (number, step)
            assert found.at == at
            assert all(due is None or due > at for due in map(due_at, found.ledger.grants))
            settled += bool(found.settled)
    assert settled, "something was due that was not in the log yet"
    forever = history[-1][0].meta.at + timedelta(days=10_000)
    last = await past.at_time(account_id, forever)
    assert last is not None
    assert last.ledger.balance.granted == history[-1][1].balance.granted


async def test_what_was_due_is_told_and_changes_nothing(database: str, past: PastLedgers) -> None:
    story = LedgerHistory(1)
    history = list(story.run(0))
    at = story.at + timedelta(hours=1)
    grant = ledger.GrantCredits(
        grant_id=UUID(int=5), kind="paid", amount=10, source_ref="r", expires_at=at
    )
    history += story.do(grant)
    store(database, [event for event, _ in history])
    before = await past.at_time(story.account_id, at - MICROSECOND)
    after = await past.at_time(story.account_id, at)
    assert before is not None
    assert after is not None
    assert (before.ledger.balance.available, before.settled) == (10, ())
    assert (after.ledger.balance.available, after.ledger.balance.expired) == (0, 10)
    assert [event.TOPIC for event in after.settled] == ["credits.expired"]
    assert after.version == before.version == 2
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM tallystick_events").fetchone() == (2,)


async def test_times_that_run_backwards_still_lead_to_one_version(
    database: str, past: PastLedgers
) -> None:
    history = [event for event, _ in LedgerHistory(2).run(60)]
    assert len(history) > 25
    early = history[20]
    late = replace(early, meta=replace(early.meta, at=history[17].meta.at - MICROSECOND))
    store(database, [*history[:20], late, *history[21:]])
    for event in history:
        found = await past.at_time(event.originator_id, event.meta.at)
        assert found is not None
        ats = [e.meta.at for e in [*history[:20], late, *history[21:]]]
        assert ats[found.version - 1] <= event.meta.at
        assert found.version == len(ats) or ats[found.version] > event.meta.at


@pytest.mark.postgres15
async def test_a_long_history_is_folded_from_the_newest_whole_state_before(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = next(
        found
        for found in (list(LedgerHistory(seed).run(120)) for seed in range(50))
        if any(isinstance(event, PeriodClosed) for event, _ in found)
    )
    store(database, [event for event, _ in history])
    keep_snapshots(database, [s for _, s in history[4::5]])
    folded = 0

    def evolve(state: CreditLedger | None, event: Event) -> CreditLedger:
        nonlocal folded
        folded += 1
        return real(state, event)

    real = ledger.evolve
    async with open_pool(database, 1) as pool:
        mapper = EventMapper()
        past = PastLedgers(pool, mapper, EventLog(pool, mapper, Wakeup(database)))
        monkeypatch.setattr(ledger, "evolve", evolve)
        for version in (len(history), len(history) // 2):
            folded = 0
            assert await past.at_version(history[0][1].id, version) is not None
            assert folded <= 6
        parameters = {"stream_id": history[0][1].id, "version": len(history), "limit": 3}
        nodes = await nodes_of(pool, "select_kept_before", parameters)
        assert all(node["Actual Rows"] <= 4 for node in nodes), nodes
