"""What the store must know of each kind of aggregate: how it folds, ends and is snapshotted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from domain import ledger, task
from domain.event import Event, Metadata

SNAPSHOT_EVENTS = 500
"""Events of one ledger after which its next snapshot is taken."""


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """`evolve(state | None, event) -> state`; `ended(state)`: not worth keeping in memory.

    `snapshot(state, meta) -> Event` is there where loading needs one.
    """

    name: str
    evolve: Callable[[Any, Event], Any]
    ended: Callable[[Any], bool]
    snapshot: Callable[[Any, Metadata], Event] | None = None


class Stream(NamedTuple):
    """One aggregate's stream of events."""

    aggregate: Aggregate
    id: UUID


def _task_ended(state: task.Task) -> bool:
    return state.ended


def _never(_: object) -> bool:
    return False


TASKS = Aggregate(name="task", evolve=task.evolve, ended=_task_ended)
LEDGERS = Aggregate(name="ledger", evolve=ledger.evolve, ended=_never, snapshot=ledger.snapshot)
AGGREGATES = (TASKS, LEDGERS)
