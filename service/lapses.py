"""Tasks whose time is over, each given its command, and settled where that ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from adapters.decision import Cursor, Find, States
from domain import metering
from domain.aggregate import AGGREGATE_OF, TASKS, Stream
from domain.event import Event, Metadata
from domain.ledger import CreditLedger
from domain.plan import Plan
from domain.task import RunCommand, Task

CommandOf = Callable[[Task], RunCommand | None]
PlanOf = Callable[[CreditLedger | None], Plan | None]
Books = dict[UUID, Any]
"""Ledgers and groups by id, as the events decided so far leave them."""


class Lapses:
    """One decision on the tasks that `find` names, with their ledgers and groups.

    A task for which `command_of` has none is left as it is; owners are told by `plan_of`.
    """

    def __init__(self, find: Find, command_of: CommandOf, plan_of: PlanOf) -> None:
        self._find = find
        self._command_of = command_of
        self._plan_of = plan_of
        self._found: Sequence[Stream] = ()
        self.count = 0
        """Of the tasks that the last decision gave a command."""

    async def find(self, cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
        """The streams to decide on. Raises as the `find` that was given."""
        self._found = await self._find(cursor, taken)
        return self._found

    def decide(self, states: States, meta: Metadata) -> Sequence[Event]:
        """Maybe not the first time, and then on what somebody else has changed meanwhile."""
        events: list[Event] = []
        self.count = 0
        books: Books = {s.id: states[s.id] for s in self._found if s.aggregate is not TASKS}
        for lapsed in (states[s.id] for s in self._found if s.aggregate is TASKS):
            command = None if lapsed.ended else self._command_of(lapsed)
            if command is None:
                continue
            self.count += 1
            group = None if lapsed.group_id is None else books[lapsed.group_id]
            paying = books[lapsed.account_id]
            plan = self._plan_of(paying)
            ended = metering.proceed(lapsed, paying, command, meta, group, plan)
            events += _entered(ended, books)
        return events


def _entered(events: Sequence[Event], books: Books) -> Sequence[Event]:
    """The same events, once `books` are as they leave them."""
    for event in events:
        stream_id = event.originator_id
        if stream_id in books:
            books[stream_id] = AGGREGATE_OF[type(event)].evolve(books[stream_id], event)
    return events
