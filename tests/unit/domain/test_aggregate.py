"""What the store is told of each kind of aggregate is enough to fold, drop and restore it."""

from __future__ import annotations

import pytest

from domain import task
from domain.aggregate import AGGREGATES, LEDGERS, TASKS
from domain.catalogue import EVENTS, SNAPSHOTS, stored_topic
from domain.task import TASK
from tests.unit.domain.given import a_ledger, grant, hold, metadata, submission, task_in


@pytest.mark.parametrize("status", TASK.states)
def test_a_task_is_let_go_when_it_has_ended(status: str) -> None:
    assert TASKS.ended(task_in(status)) is task_in(status).ended


def test_a_task_folds_without_snapshots() -> None:
    events = task.decide(None, submission(), metadata())
    assert TASKS.evolve(None, events[0]) == task.evolve(None, events[0])
    assert TASKS.snapshot is None


def test_a_ledger_never_ends_and_comes_back_from_its_snapshot() -> None:
    state = a_ledger(grant(50), hold(20))
    assert LEDGERS.ended(state) is False
    assert LEDGERS.snapshot is not None
    assert LEDGERS.evolve(None, LEDGERS.snapshot(state, metadata())) == state


def test_names_and_stored_topics_are_unique() -> None:
    assert len({aggregate.name for aggregate in AGGREGATES}) == len(AGGREGATES)
    topics = [stored_topic(event_type) for event_type in (*EVENTS, *SNAPSHOTS)]
    assert len(set(topics)) == len(topics)
    assert stored_topic(EVENTS[0], 7) == f"{EVENTS[0].TOPIC}.v7"
