"""Tasks as they were right after each of their facts, folded from the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import islice
from uuid import UUID

import structlog
from eventsourcing.persistence import MapperDeserialisationError
from msgspec import Raw
from msgspec.structs import replace

from adapters.log import STREAM_EVENTS_MAX, Recorded
from adapters.mapper import EventMapper
from adapters.pool import LOST, Pool, lent
from adapters.sql import statement
from domain.aggregate import TASKS
from domain.errors import Unavailable
from domain.event import Event
from domain.task import Task, evolve
from domain.task_events import TaskSubmitted

STATES_MAX = 5_000
"""States kept between batches of facts."""
FOLDED_TOGETHER = 100
"""Tasks whose earlier facts are read by one query."""
_NO_DOCUMENT = Raw(b"{}")
_log = structlog.get_logger(__name__)


class TaskStates:
    """Give it facts in the order of the log: `prepare` a batch, then take each state `after` one.

    States come without input and result, which may be large.
    """

    def __init__(self, pool: Pool, mapper: EventMapper) -> None:
        self._pool = pool
        self._mapper = mapper
        self._known: dict[UUID, Task] = {}

    async def prepare(self, facts: Iterable[Recorded]) -> None:
        """Read what came before these facts, where it is not known. Raises `Unavailable`."""
        if len(self._known) > STATES_MAX:
            self._known.clear()
        unknown = self._unknown(facts)
        while unknown:
            group = dict(islice(unknown.items(), FOLDED_TOGETHER))
            await self._fold(group)
            for task_id in group:
                del unknown[task_id]

    def _unknown(self, facts: Iterable[Recorded]) -> dict[UUID, int]:
        first: dict[UUID, int] = {}
        for recorded in facts:
            event = recorded.event
            if type(event) in TASKS.events:
                first.setdefault(event.originator_id, event.originator_version)
        return {
            task_id: version
            for task_id, version in first.items()
            if version > 1 and self._version(task_id) != version - 1
        }

    def _version(self, task_id: UUID) -> int:
        known = self._known.get(task_id)
        return 0 if known is None else known.version

    def after(self, event: Event) -> Task | None:
        """The task right after its fact; None when an earlier fact of it cannot be loaded."""
        before = None
        if not isinstance(event, TaskSubmitted):
            before = self._known.get(event.originator_id)
            if before is None or before.version != event.originator_version - 1:
                return None
        task = replace(evolve(before, event), input=_NO_DOCUMENT, result=None)
        self._known[task.id] = task
        return task

    async def _fold(self, wanted: Mapping[UUID, int]) -> None:
        for task_id in wanted:
            self._known.pop(task_id, None)
        broken: set[UUID] = set()
        async for task_id, topic, state in self._earlier(wanted):
            if task_id in broken:
                continue
            try:
                event = self._mapper.decode(topic, state)
            except MapperDeserialisationError:
                _log.exception("event.unreadable", stream_id=str(task_id))
                broken.add(task_id)
                self._known.pop(task_id, None)
                continue
            folded = evolve(self._known.get(task_id), event)
            self._known[task_id] = replace(folded, input=_NO_DOCUMENT, result=None)

    async def _earlier(self, wanted: Mapping[UUID, int]) -> AsyncIterator[tuple[UUID, str, bytes]]:
        """Facts before these versions, task by task, one at a time in memory."""
        parameters = {
            "ids": list(wanted),
            "versions": list(wanted.values()),
            "limit": STREAM_EVENTS_MAX,
        }
        query = statement("select_events_before")
        try:
            async with lent(self._pool) as connection, connection.cursor() as cursor:
                async for task_id, topic, state in cursor.stream(query, parameters, binary=True):
                    yield task_id, topic, state
        except LOST as error:
            raise Unavailable(f"The log cannot be read: {error}") from error
