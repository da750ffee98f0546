"""A poison event parks its stream for one projection; the rest goes on; a retry mends it."""

from __future__ import annotations

from collections import Counter
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from psycopg import AsyncConnection

from adapters.mapper import EventMapper
from adapters.projection_status import ParkedStream
from adapters.read_model import ReadModel
from adapters.read_tables import BEHIND, STATEMENT_TABLE, STATISTICS_TABLE, ReadTable
from domain.errors import NotFound
from domain.event import Event
from domain.ledger_events import CreditsGranted
from tests.histories import History, store
from tests.integration.read_models import content, drain, expected, status_of

BOTH = pytest.mark.parametrize("table", BEHIND, ids=lambda t: t.projection.name)


def poisoned(dsn: str, events: list[Event], event: Event) -> int:
    """Make one event of the log unreadable; its position."""
    position = events.index(event) + 1
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE tallystick_events SET state = '{' WHERE notification_id = %s", (position,)
        )
    return position


def mended(dsn: str, event: Event, position: int) -> None:
    _, state = EventMapper().encode(event)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE tallystick_events SET state = %s WHERE notification_id = %s", (state, position)
        )


def nth_event(table: ReadTable, events: list[Event], number: int) -> Event:
    """The `number`th event of the busiest stream that the projection takes."""
    taken = [event for event in events if table.projection.key(event) is not None]
    busiest, _ = Counter(event.originator_id for event in taken).most_common(1)[0]
    return [event for event in taken if event.originator_id == busiest][number]


@pytest.mark.postgres15
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("batch", [5, 2_000])
@BOTH
async def test_the_rest_goes_on_and_a_retry_leaves_what_an_undisturbed_run_leaves(
    database: str, table: ReadTable, batch: int, number: int
) -> None:
    events = History(7, accounts=4).grow(300).events
    store(database, events)
    bad = nth_event(table, events, number)
    stream = bad.originator_id
    position = poisoned(database, events, bad)
    consumer = table.projection.consumer
    await drain(database, [table], batch)

    whole = [e for e in events if e.originator_id != stream or events.index(e) + 1 < position]
    held_back = [
        n + 1
        for n, e in enumerate(events)
        if e.originator_id == stream and table.projection.key(e) and n + 1 > position
    ]
    async with status_of(database) as status:
        [parked] = await status.parked()
        assert (parked.projection, parked.parked.stream_id) == (consumer, stream)
        assert parked.parked.position == position
        assert parked.parked.topic == f"{bad.TOPIC}.v1"
        assert "MapperDeserialisationError: Cannot load" in parked.parked.error
        assert parked.parked.skipped == len(held_back)
        assert parked.parked.last_position == max([position, *held_back])
        assert streams_of(database, table) == {
            e.originator_id for e in whole if table.projection.key(e) is not None
        }
        [lag] = [lag for lag in await status.lag() if lag.projection == consumer]
        assert (lag.events, lag.parked_streams) == (0, 1)

        mended(database, bad, position)
        assert await status.retry_parked(consumer, stream) is None
        assert await status.parked() == []
    await drain(database)
    assert content(database) == expected(events)


def streams_of(dsn: str, table: ReadTable) -> set[UUID]:
    rows = content(dsn)[
        {
            "statement": "statement_lines",
            "statistics": "statistics_v2_tasks",
            "journal": "journal_customers",
        }[table.projection.name]
    ]
    return {row[0] for row in rows}


async def test_a_retry_before_the_cause_is_mended_keeps_the_stream_parked(database: str) -> None:
    events = History(7, accounts=2).grow(200).events
    store(database, events)
    first = nth_event(STATEMENT_TABLE, events, 1)
    later = nth_event(STATEMENT_TABLE, events, 4)
    at_first, at_later = (poisoned(database, events, event) for event in (first, later))
    await drain(database, [STATEMENT_TABLE])
    stream = first.originator_id
    async with status_of(database) as status:
        [before] = await status.parked()
        assert await status.retry_parked("statement.v1", stream) == before.parked
        mended(database, first, at_first)
        again = await status.retry_parked("statement.v1", stream)
        assert again is not None
        assert again.position == at_later
        assert again.skipped == before.parked.skipped - 3
        assert [p.parked for p in await status.parked()] == [again]
        mended(database, later, at_later)
        assert await status.retry_parked("statement.v1", stream) is None
    await drain(database)
    assert content(database) == expected(events)


async def test_a_retry_takes_a_long_stream_in_batches(database: str) -> None:
    events = History(7, accounts=1).grow(200).events
    store(database, events)
    bad = nth_event(STATEMENT_TABLE, events, 1)
    position = poisoned(database, events, bad)
    await drain(database, [STATEMENT_TABLE])
    mended(database, bad, position)
    model = ReadModel(STATEMENT_TABLE, EventMapper())
    async with await AsyncConnection.connect(database) as connection:
        assert await model.retry_parked(connection, bad.originator_id, 7) is None
    async with status_of(database) as status:
        assert await status.parked() == []
    await drain(database)
    assert content(database) == expected(events)


async def test_a_retry_goes_no_further_than_the_projection_has_come(database: str) -> None:
    events = History(7, accounts=1).grow(200).events
    store(database, events[:100])
    bad = nth_event(STATEMENT_TABLE, events[:100], 1)
    position = poisoned(database, events, bad)
    await drain(database, [STATEMENT_TABLE])
    mended(database, bad, position)
    store(database, events[100:])
    async with status_of(database) as status:
        assert await status.retry_parked("statement.v1", bad.originator_id) is None
    before = expected(events[:100])["statement_lines"]
    assert content(database)["statement_lines"] == before
    await drain(database)
    assert content(database) == expected(events)


@pytest.mark.parametrize("batch", [1, 4, 2_000])
async def test_values_that_the_database_refuses_park_their_stream(
    database: str, batch: int
) -> None:
    events = History(8, accounts=3).grow(200).events
    number, grant = next(
        (n, e) for n, e in enumerate(events) if isinstance(e, CreditsGranted) and n > 50
    )
    poison = msgspec.structs.replace(grant, reason="a\0b")
    store(database, [*events[:number], poison, *events[number + 1 :]])
    await drain(database, batch_events_max=batch)
    async with status_of(database) as status:
        [parked] = await status.parked()
        assert parked.parked.position == number + 1
        assert "invalid byte sequence" in parked.parked.error
        still = await status.retry_parked("statement.v1", grant.originator_id)
        assert still is not None
        assert (still.position, still.skipped) == (number + 1, parked.parked.skipped)
        mended(database, grant, number + 1)
        assert await status.retry_parked("statement.v1", grant.originator_id) is None
    assert content(database) == expected(events)


async def test_an_event_of_an_unknown_kind_parks_its_stream_rather_than_be_lost(
    database: str,
) -> None:
    events = History(8, accounts=2).grow(100).events
    bad = nth_event(STATISTICS_TABLE, events, 1)
    store(database, events)
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE tallystick_events SET topic = 'task.teleported.v1' WHERE notification_id = %s",
            (events.index(bad) + 1,),
        )
    await drain(database)
    async with status_of(database) as status:
        parked = await status.parked()
    assert {p.projection for p in parked} == {"statement.v1", "statistics.v2", "journal.v1"}
    assert {p.parked.stream_id for p in parked} == {bad.originator_id}


async def test_parked_streams_are_listed_in_pages(database: str) -> None:
    events = History(8, accounts=6).events
    store(database, events)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE tallystick_events SET state = '{'")
    await drain(database)
    async with status_of(database) as status:
        pages: list[ParkedStream] = []
        while page := await status.parked(pages[-1] if pages else None, limit=3):
            assert len(page) <= 3
            pages += page
    assert [(p.parked.stream_id, p.projection) for p in pages] == [
        (stream_id, projection)
        for stream_id in sorted({event.originator_id for event in events})
        for projection in ("journal.v1", "statement.v1")
    ]


async def test_only_a_parked_stream_of_a_known_projection_can_be_retried(database: str) -> None:
    store(database, History(8).events)
    await drain(database)
    async with status_of(database) as status:
        with pytest.raises(NotFound, match="has not parked"):
            await status.retry_parked("statement.v1", uuid4())
        with pytest.raises(NotFound, match="no projection"):
            await status.retry_parked("tasks.v9", uuid4())
