"""A fold gives the same in whatever batches it is taken; a poison event sets one stream aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.event import Event
from projections.accounts import ACCOUNTS
from projections.fold import ERROR_LENGTH_MAX, Entry, Fold, Parked
from projections.projection import Projection
from projections.statement import STATEMENT
from projections.statistics import STATISTICS
from projections.tasks import TASKS
from tests.histories import History

PROJECTIONS = (TASKS, ACCOUNTS, STATEMENT, STATISTICS)


class Tables:
    """What an adapter keeps of a projection, in memory."""

    def __init__(self, projection: Projection[Any]) -> None:
        self.projection = projection
        self.newest: dict[UUID, Any] = {}
        self.rows: list[tuple[int, Any]] = []
        self.sums: dict[Any, Any] = {}

    def fold(self) -> Fold[Any]:
        return Fold(self.projection, self.newest)

    def store(self, fold: Fold[Any]) -> None:
        self.newest = fold.rows
        self.rows += [tuple(written) for written in fold.written]
        tally = self.projection.tally
        for key, count in fold.tallied.items():
            assert tally is not None
            self.sums[key] = tally.add(self.sums[key], count) if key in self.sums else count

    def content(self) -> object:
        """Everything that readers see."""
        rows = self.rows if self.projection.every_version else []
        return rows, self.newest, self.sums


def taken_at_once(projection: Projection[Any], events: Iterable[Event]) -> Tables:
    tables = Tables(projection)
    fold = tables.fold()
    for position, event in enumerate(events, start=1):
        fold.take(position, event)
    tables.store(fold)
    return tables


def batches(events: list[Event], cuts: Iterable[int]) -> Iterator[list[tuple[int, Event]]]:
    numbered = list(enumerate(events, start=1))
    edges = [0, *sorted({cut % len(events) for cut in cuts} - {0}), len(events)]
    for begin, end in pairwise(edges):
        yield numbered[begin:end]


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.sets(st.integers(1, 80), max_size=12),
    crashed=st.sets(st.integers(0, 12)),
)
def test_any_split_into_batches_and_any_crash_leaves_what_one_fold_leaves(
    projection: Projection[Any], seed: int, cuts: set[int], crashed: set[int]
) -> None:
    events = History(seed, accounts=2).grow(80).events
    tables = Tables(projection)
    for number, batch in enumerate(batches(events, cuts)):
        for lost in (True, False) if number in crashed else (False,):
            fold = tables.fold()
            for position, event in batch:
                fold.take(position, event)
            if not lost:
                tables.store(fold)
    assert tables.content() == taken_at_once(projection, events).content()


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
@given(seed=st.integers(0, 2**32), poisoned=st.sets(st.integers(0, 79), min_size=1, max_size=4))
def test_a_poison_event_costs_its_stream_the_rest_and_no_other_stream_anything(
    projection: Projection[Any], seed: int, poisoned: set[int]
) -> None:
    events = History(seed, accounts=2).grow(80).events
    fold = Fold(projection)

    def decode(topic: str, state: bytes) -> Event:
        if int(state) in poisoned:
            raise ValueError("poison")
        return events[int(state)]

    for number, event in enumerate(events):
        fold.feed(entry(number + 1, event, str(number).encode()), decode)

    first: dict[UUID, int] = {}
    for number in sorted(poisoned):
        first.setdefault(events[number].originator_id, number)
    assert {i: p.position for i, p in fold.parked.items()} == {i: n + 1 for i, n in first.items()}
    kept = [
        event
        for number, event in enumerate(events)
        if number < first.get(event.originator_id, len(events))
    ]
    assert fold.rows == taken_at_once(projection, kept).newest
    assert fold.tallied == taken_at_once(projection, kept).sums
    held_back = sum(parked.skipped + 1 for parked in fold.parked.values())
    assert held_back == len(events) - len(kept)


def entry(position: int, event: Event, state: bytes | None = b"") -> Entry:
    return Entry(position, event.originator_id, event.TOPIC, state)


def refuse(topic: str, state: bytes) -> Event:
    raise ValueError("broken\0" + "!" * 5_000)


def test_a_parked_stream_tells_where_and_why_and_how_much_is_held_back() -> None:
    events = History(1, accounts=1).events
    fold = Fold(STATEMENT)
    fold.feed(entry(7, events[1]), refuse)
    fold.feed(entry(9, events[1]), lambda _topic, _state: events[1])
    stream = events[1].originator_id
    error = ("ValueError: broken" + "!" * 5_000)[:ERROR_LENGTH_MAX]
    assert fold.parked == {
        stream: Parked(
            stream_id=stream,
            position=7,
            topic="credits.granted",
            error=error,
            skipped=1,
            last_position=9,
        )
    }
    assert fold.written == []


def test_an_entry_without_state_is_passed_even_for_a_parked_stream() -> None:
    event = History(1, accounts=1).events[1]
    fold = Fold(STATEMENT)
    fold.feed(entry(7, event), refuse)
    before = dict(fold.parked)
    fold.feed(entry(8, event, state=None), refuse)
    assert fold.parked == before


def test_an_event_whose_count_fails_leaves_its_row_as_it_was() -> None:
    def fail(*_: object) -> object:
        raise ValueError("cannot count")

    assert STATISTICS.tally is not None
    tally = msgspec.structs.replace(STATISTICS.tally, count=fail)
    events = [e for e in History(1).grow(40).events if STATISTICS.key(e) is not None]
    fold = Fold(msgspec.structs.replace(STATISTICS, tally=tally))
    fold.feed(entry(1, events[0]), lambda _topic, _state: events[0])
    assert (fold.rows, fold.written, fold.tallied) == ({}, [], {})
    assert list(fold.parked) == [events[0].originator_id]


MOVES_NOTHING = {
    *("task.stage_reached", "account.opened", "account.frozen", "account.unfrozen"),
    *("account.plan_changed", "books.closed", "credits.low", "credits.exhausted"),
}


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
def test_a_projection_takes_its_own_events_and_no_others(projection: Projection[Any]) -> None:
    of_tasks = projection in (TASKS, STATISTICS)
    for event in History(3).grow(300).events:
        key = projection.key(event)
        mine = event.TOPIC.startswith("task.") == of_tasks
        untold = event.TOPIC in MOVES_NOTHING
        if not mine or (untold and projection in (STATEMENT, STATISTICS)):
            assert key is None
        else:
            assert key == event.originator_id


def test_the_inline_rows_are_the_states_that_the_domain_folds() -> None:
    history = History(4).grow(300)
    assert taken_at_once(TASKS, history.events).newest == history.tasks
    assert taken_at_once(ACCOUNTS, history.events).newest == history.ledgers


def test_each_version_of_a_projection_tracks_a_position_of_its_own() -> None:
    names = [p.consumer for p in PROJECTIONS]
    assert names == ["tasks.v1", "accounts.v1", "statement.v1", "statistics.v2"]
