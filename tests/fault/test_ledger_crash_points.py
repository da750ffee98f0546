"""A process dies at each step of a commit of ledger decisions: all of each is there, once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from adapters.committer import CommitterLimits, OutcomeUnknown
from adapters.decision import Committed, KeyRecord
from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from domain.errors import Unavailable
from domain.event import Event
from tests.fault.books import Books
from tests.fault.ledger_desk import CASES, Prepared, desk, prepared
from tests.fault.postgres_proxy import Action, Fault, Moment, PostgresProxy
from tests.fault.writers import WriterProcess
from tests.integration import read_models

pytestmark = pytest.mark.fault

GIVEN_UP = CommitterLimits(reconnect_seconds_max=0.1)
"""A process that finds no database any more gives its callers up soon."""
POINTS: tuple[tuple[str, str, Moment, Action, bool], ...] = (
    ("free", "append_batch", "before", "cut", False),
    ("free", "append_batch", "before", "half", False),
    ("free", "append_batch", "after", "cut", True),
    ("locked", "append_batch", "before", "cut", False),
    ("locked", "append_batch", "after", "cut", False),
    ("locked", "commit", "before", "half", False),
    ("locked", "commit", "before", "orphan", True),
    ("locked", "commit", "after", "cut", True),
)
"""Path, step, moment and action; and whether what was decided is in the log then."""
SWEPT_MAX = 1_000
Outcome = KeyRecord | Committed | BaseException


@pytest.fixture
async def proxy(shared_database: str) -> AsyncIterator[PostgresProxy]:
    # Shorter than `tmp_path`: a socket's path has a limit.
    folder = Path(tempfile.mkdtemp(prefix="proxy-"))
    async with PostgresProxy(folder, shared_database) as proxy:
        yield proxy
    shutil.rmtree(folder)


async def _decided(
    dsn: str, accounts: Sequence[Prepared], limits: CommitterLimits | None = None
) -> list[Outcome]:
    """What all of them come to, decided at once by a process of their own."""
    async with desk(dsn, limits) as at:
        return await asyncio.gather(*(a.decide(at) for a in accounts), return_exceptions=True)


@pytest.mark.parametrize(("path", "step", "moment", "action", "written"), POINTS)
async def test_a_ledger_decision_is_whole_and_done_once_wherever_its_process_dies(
    shared_database: str,
    proxy: PostgresProxy,
    path: str,
    step: str,
    moment: Moment,
    action: Action,
    written: bool,  # noqa: FBT001 - a column of the table
) -> None:
    accounts = await prepared(shared_database, under_lock=path == "locked")
    before = len(Books(shared_database).events)
    fault = Fault(step, moment, action)
    proxy.dying = True
    proxy.arm(fault)
    died = await _decided(proxy.dsn, accounts, GIVEN_UP)
    assert proxy.struck == [fault], proxy.steps
    assert {type(outcome) for outcome in died} <= {Unavailable, OutcomeUnknown}

    first = await _decided(shared_database, accounts)
    again = await _decided(shared_database, accounts)

    assert {type(outcome) for outcome in first} == {KeyRecord if written else Committed}
    assert {type(outcome) for outcome in again} == {KeyRecord}
    assert [a for a, b in zip(first, again, strict=True) if written and a != b] == []
    _verify(Books(shared_database), accounts, before)
    await _verify_read_models(shared_database)


@pytest.mark.parametrize(
    ("step", "moment"), [("append_batch", "before"), ("commit", "before"), ("commit", "after")]
)
async def test_of_processes_that_decide_the_same_one_is_killed_and_the_others_do_it_once(
    shared_database: str, proxy: PostgresProxy, step: str, moment: Moment
) -> None:
    accounts = await prepared(shared_database, under_lock=True)
    before = len(Books(shared_database).events)
    told = msgspec.json.encode(accounts).decode()
    writers = await asyncio.gather(
        *(
            WriterProcess.begin("decide", dsn, accounts[0].account_id, 0)
            for dsn in (proxy.dsn, shared_database, shared_database)
        )
    )
    for writer in writers:
        assert await writer.line() == "ready"
        writer.go()
    killed, *others = writers
    fault = Fault(step, moment, "silence")
    proxy.arm(fault)
    killed.tell(told)
    while not proxy.struck:  # noqa: ASYNC110 - the relay runs in this loop
        await asyncio.sleep(0.005)
    for writer in others:
        writer.tell(told)
    assert await killed.kill() == []

    for said in await asyncio.gather(*(writer.end() for writer in others)):
        assert sorted(said) == sorted(CASES)
    _verify(Books(shared_database), accounts, before)
    await _verify_read_models(shared_database)


async def test_a_sweep_that_dies_is_done_by_those_that_come_after_it_once(
    shared_database: str, proxy: PostgresProxy
) -> None:
    """It has no key: what is due no longer when it is looked for is not done again."""
    accounts = [a for a in await prepared(shared_database, under_lock=False) if a.case == "settle"]
    fault = Fault("commit", "before", "cut")
    proxy.dying = True
    proxy.arm(fault)
    async with desk(proxy.dsn, GIVEN_UP) as at:
        with pytest.raises(Unavailable):
            await at.ledgers.settle_due(SWEPT_MAX)
    assert proxy.struck == [fault], proxy.steps
    async with desk(shared_database) as one, desk(shared_database) as other:
        await asyncio.gather(*(at.ledgers.settle_due(SWEPT_MAX) for at in (one, other, one, other)))
        assert (await one.ledgers.settle_due(SWEPT_MAX)).count == 0

    books = Books(shared_database)
    [settled] = accounts
    topics = [e.TOPIC for e in books.events if e.originator_id == settled.account_id]
    assert Counter(topics[-5:]) == Counter(CASES["settle"].topics)
    assert topics.count("credits.matured") == 1
    await _verify_read_models(shared_database)


def _verify(books: Books, accounts: Sequence[Prepared], before: int) -> None:
    """Each decision's events are in the log once, and the balance is what they come to."""
    commands: defaultdict[UUID, list[Event]] = defaultdict(list)
    for event in books.events[before:]:
        commands[event.meta.causation_id].append(event)
    appended = sorted(tuple(e.TOPIC for e in events) for events in commands.values())
    assert appended == sorted(CASES[account.case].topics for account in accounts)
    for account in accounts:
        b = books.ledgers[account.account_id].balance
        figures = (b.available, b.held, b.captured, b.expired, b.voided, b.refunded)
        assert (account.case, figures) == (account.case, CASES[account.case].balance)
        assert b.granted == b.pending + sum(figures[:-1])


async def _verify_read_models(dsn: str) -> None:
    """Inline rows and those behind the log are what a rebuild from the log gives."""
    comparison = await compare_inline(dsn, EventMapper())
    assert comparison.complete
    assert comparison.differences == ()
    await read_models.drain(dsn)
    books = Books(dsn)
    assert read_models.content(dsn) == read_models.expected(books.events, books.positions)
