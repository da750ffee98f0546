"""Aggregates without a table of their own are shown in `documents`, as of their last event."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from adapters import batch
from adapters.decision import Decision, States
from adapters.documents import DocumentFilter, Documents, find_due
from adapters.mapper import EventMapper
from adapters.pool import open_pool
from adapters.verification import compare_inline
from domain import ledger
from domain.aggregate import AGGREGATE_WITH, LEDGERS, Aggregate, Document, Stream
from domain.errors import CommandRejected
from domain.event import Event, Metadata
from domain.ledger import CreditLedger
from tests.fault import commands
from tests.fault.commands import new_id
from tests.fault.writers import running

OWNER = new_id()
DUE = timedelta(seconds=-1)


def _document(state: CreditLedger) -> Document:
    """A ledger as if it had no table: due once it has credits."""
    opened_at = state.balance.opened_at
    return Document(
        account_id=OWNER,
        name=state.balance.name,
        status="rich" if state.balance.granted else "poor",
        due_at=opened_at + DUE if state.balance.granted else None,
        created_at=opened_at,
        data=msgspec.json.encode({"granted": state.balance.granted}),
    )


SHOWN = msgspec.structs.replace(LEDGERS, name="purse", document=_document)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, ledgers are kept as documents too."""
    kinds: dict[type[Any], Aggregate] = {**AGGREGATE_WITH, CreditLedger: SHOWN}
    monkeypatch.setattr(batch, "AGGREGATE_WITH", kinds)


def _opened(purse_id: UUID, name: str) -> Decision:
    command = ledger.OpenAccount(account_id=purse_id, plan="unlimited", name=name)
    return commands.decision(
        lambda states, meta: ledger.decide(states[purse_id], command, meta),
        new=(Stream(SHOWN, purse_id),),
    )


def _granted(purse_id: UUID, amount: int) -> Decision:
    command = commands.grant_of(amount)
    return commands.decision(
        lambda states, meta: ledger.decide(states[purse_id], command, meta),
        streams=(Stream(SHOWN, purse_id),),
    )


@pytest.mark.postgres15
@pytest.mark.usefixtures("shown")
async def test_a_row_is_written_with_the_events_and_follows_them(database: str) -> None:
    first, second = new_id(), new_id()
    async with running(database) as committer, open_pool(database, 2) as pool:
        documents = Documents(pool)
        for purse_id, name in ((first, "one"), (second, "two")):
            await committer.execute(_opened(purse_id, name))
        opened = await documents.document("purse", first)
        assert opened is not None
        assert (opened.status, opened.version, opened.due_at) == ("poor", 1, None)
        await committer.execute(_granted(first, 5))
        granted = await documents.document("purse", first)
        assert granted is not None
        assert (granted.status, granted.version, granted.account_id) == ("rich", 2, OWNER)
        assert bytes(granted.data) == b'{"granted":5}'
        assert await documents.document("task", first) is None
        assert [d.id for d in await documents.documents(_of())] == [second, first]
        assert [d.id for d in await documents.documents(_of(statuses=("poor",)))] == [second]
        assert [d.id for d in await documents.documents(_of(name="one"))] == [first]
        assert await documents.documents(_of(account_id=new_id())) == []
        page = await documents.documents(_of(), limit=1)
        rest = await documents.documents(_of(), before=(page[0].created_at, page[0].id))
        assert [d.id for d in rest] == [first]


def _of(**fields: Any) -> DocumentFilter:
    return DocumentFilter(kind="purse", **{"account_id": OWNER} | fields)


@pytest.mark.usefixtures("shown")
async def test_only_what_is_due_is_found(database: str) -> None:
    purses = [new_id() for _ in range(4)]
    async with running(database) as committer:
        for purse_id in purses:
            await committer.execute(_opened(purse_id, "p"))
        for purse_id in purses[:3]:
            await committer.execute(_granted(purse_id, 1))
        found: list[UUID] = []

        async def remember(cursor: Any, taken: Any) -> list[Stream]:
            streams = await find_due(SHOWN, 2)(cursor, taken)
            found.extend(stream.id for stream in streams if stream.aggregate is SHOWN)
            return list(streams)

        def decide(states: States, meta: Metadata) -> list[Event]:
            return [
                event
                for purse_id in found
                for event in ledger.decide(states[purse_id], commands.grant_of(10), meta)
            ]

        await committer.execute(commands.decision(decide, find=remember))
        assert found == purses[:2]


async def test_a_decision_may_open_a_stream_that_it_alone_can_name(database: str) -> None:
    account_id, task_id = new_id(), new_id()
    async with running(database) as committer:
        await committer.execute(commands.open_account(account_id, amount=10))
        submitted = await committer.execute(_submission_unnamed(account_id, task_id))
        assert submitted.states[task_id].status == "queued"
        started = await committer.execute(commands.start(task_id))
        assert started.states[task_id].status == "running"
    comparison = await compare_inline(database, EventMapper())
    assert comparison.differences == ()


async def test_an_event_in_the_middle_of_a_stream_that_was_not_loaded_is_refused(
    database: str,
) -> None:
    account_id, task_id = new_id(), new_id()
    async with running(database) as committer:
        await committer.execute(commands.open_account(account_id, amount=10))
        opening = _submission_unnamed(account_id, task_id)

        def decide(states: States, meta: Metadata) -> list[Event]:
            return [
                commands.replaced(e, originator_version=7) for e in opening.decide(states, meta)
            ]

        with pytest.raises(CommandRejected):
            await committer.execute(commands.decision(decide, streams=opening.streams))


async def test_a_row_that_is_not_what_the_log_says_is_found(database: str) -> None:
    """The comparison knows kinds by their events, so the tampered row is surplus."""
    async with running(database) as committer:
        await committer.execute(commands.open_account(new_id(), amount=1))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO documents (id, kind, version, status, created_at, data)"
            " VALUES (gen_random_uuid(), 'group', 1, 'x', %s, '{}')",
            (datetime.fromisoformat("2026-01-01T00:00:00+00:00"),),
        )
    [difference] = (await compare_inline(database, EventMapper())).differences
    assert (difference.table, difference.field, difference.found) == ("documents", "row", "a row")


def _submission_unnamed(account_id: UUID, task_id: UUID) -> Decision:
    command = commands.submit(account_id, task_id)

    def decide(states: States, meta: Metadata) -> tuple[Event, ...]:
        return tuple(command.decide({task_id: None, account_id: states[account_id]}, meta))

    return commands.decision(decide, streams=(Stream(LEDGERS, account_id),))
