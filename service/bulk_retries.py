"""Retrying many failed tasks in one commit, with a preview that decides the same."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from adapters.decision import Committed, States
from adapters.failed_tasks import FailedFilter, FailedTasks, failed_tasks
from adapters.pool import Pool
from domain.aggregate import LEDGERS, TASKS, Stream
from domain.bulk_retry import RETRIES_MAX, BulkRetry, retry_all
from domain.errors import InvalidInput, NotFound
from domain.event import Event, Metadata
from domain.ledger import CreditLedger
from domain.pricing import Terms
from domain.task import Task
from service.command import Once, Origin
from service.command_bus import CommandBus
from service.identifiers import new_id


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks to retry: named, or else those that fit `wanted`, the first to fail first."""

    account_id: UUID
    wanted: FailedFilter = FailedFilter()
    task_ids: tuple[UUID, ...] = ()
    tasks_max: int = RETRIES_MAX
    preview: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`matched` were looked at; `more`: others may fit."""

    matched: int
    more: bool
    decided: BulkRetry


class BulkRetries:
    """Raises the domain's typed refusals and the committer's errors."""

    def __init__(self, bus: CommandBus, pool: Pool) -> None:
        self._bus = bus
        self._pool = pool

    async def find(self, asked: Retries) -> Bulk:
        """The tasks that are meant, not yet retried. Raises `InvalidInput`, `Unavailable`."""
        if not 1 <= asked.tasks_max <= RETRIES_MAX or len(asked.task_ids) > RETRIES_MAX:
            detail = f"must be 1 to {RETRIES_MAX}"
            raise InvalidInput("Too many tasks at once.", ("/tasks_max", detail))
        if asked.task_ids:
            ids = tuple(dict.fromkeys(asked.task_ids))
            found = FailedTasks(ids=ids[: asked.tasks_max], more=len(ids) > asked.tasks_max)
            return Bulk(self._bus, asked, found)
        found = await failed_tasks(self._pool, asked.account_id, asked.wanted, asked.tasks_max)
        return Bulk(self._bus, asked, found)

    async def carry_out(self, bulk: Bulk, *, origin: Origin, once: Once | None = None) -> Committed:
        """Retry what fits, in one commit; a preview writes nothing. Sets `bulk.outcome`."""
        return await self._bus.execute(bulk.decide, origin, streams=bulk.streams, once=once)


class Bulk:
    """One retry in bulk, on its way; `outcome` is there when it is decided."""

    def __init__(self, bus: CommandBus, asked: Retries, found: FailedTasks) -> None:
        self._bus = bus
        self._asked = asked
        self._more = found.more
        self._hold_ids = {task_id: new_id() for task_id in found.ids}
        self._decided: BulkRetry | None = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        tasks = (Stream(TASKS, task_id) for task_id in self._hold_ids)
        return (Stream(LEDGERS, self._asked.account_id), *tasks)

    @property
    def outcome(self) -> Outcome:
        assert self._decided is not None, "it is decided first"
        return Outcome(matched=len(self._hold_ids), more=self._more, decided=self._decided)

    def decide(self, states: States, meta: Metadata) -> Sequence[Event]:
        account: CreditLedger | None = states[self._asked.account_id]
        if account is None:
            raise NotFound("There is no such account.")
        tasks: dict[UUID, Task | None] = {one: states[one] for one in self._hold_ids}
        plan = self._bus.plans.named(account.balance.plan)
        self._decided = retry_all(tasks, account, self._hold_ids, self._price, plan, meta)
        return () if self._asked.preview else self._decided.events

    def _price(self, task: Task) -> Terms:
        return self._bus.pricing.terms_of(task.type, task.input)
