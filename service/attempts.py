"""The verbs of workers: queued tasks claimed, and what each attempt comes to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from msgspec import Raw
from msgspec.structs import replace

from adapters.decision import Committed, Cursor, Find, States
from adapters.queue import find_claimable
from domain import metering, task
from domain.aggregate import TASKS, Stream
from domain.event import Event, Metadata
from domain.failure import Failure
from domain.group import Group
from domain.pricing import Quantities
from domain.task import RunCommand, Task
from service.command import Once, Origin
from service.command_bus import CommandBus
from service.pricing import PricesNeeded
from service.provider_rules import ProviderRules
from service.task_types import TaskTypes


class Attempts:
    """Claims tasks of `types`, and carries out what the workers that hold them tell.

    Every method raises the domain's typed refusals and the committer's errors.
    """

    def __init__(self, bus: CommandBus, types: TaskTypes) -> None:
        self._bus = bus
        self._types = types
        self._providers = ProviderRules(types)

    async def claim(self, worker: str, types: Sequence[str], limit: int) -> list[Task]:
        """Start at most `limit` queued tasks, each under a new lease and fencing token.

        A type that has as many running as it may, over all workers, gives none, and so does one
        whose provider is full, closed, or has had as many starts as it may.
        """
        command = task.StartTask(worker=worker)
        found: list[Stream] = []
        running_max = {name: self._types.running_tasks_max(name) for name in types}
        find = find_claimable(running_max, limit)

        async def remember(cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
            await self._providers.declare(cursor)
            found[:] = await find(cursor, taken)
            return found

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            return [
                event
                for stream in found
                if _startable(states[stream.id])
                for event in metering.proceed(states[stream.id], None, command, meta)
            ]

        committed = await self._bus.execute(decide, Origin(actor=worker), find=remember)
        self._providers.declared = True
        return [state for state in committed.states.values() if type(state) is Task]

    async def proceed(
        self,
        task_id: UUID,
        account_id: UUID,
        command: RunCommand,
        *,
        worker: str,
        group_id: UUID | None = None,
        quantities: Quantities | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Any verb of the worker that holds the task; one that ends it settles its hold with it.

        `group_id`, where it is known that the task has one, saves a second look. A failure of type
        `rate_limited` closes the provider of the task's type by the same commit. A completion is
        charged by its `quantities`, at the prices that were held by.
        """
        find = None
        if isinstance(command, task.FailTask):
            asked = command.retry_after_seconds
            find = self._providers.closing(task_id, command.token, command.failure, asked)
        work = partial(
            self._carry_out,
            task_id,
            account_id,
            lambda current: self._charging(current, command, quantities),
            worker=worker,
            group_id=group_id,
            find=find,
            once=once,
        )
        try:
            return await work()
        except PricesNeeded as needed:
            await self._bus.pricing.learn(needed.version)
        return await work()

    async def reach_stage(
        self,
        task_id: UUID,
        *,
        token: int,
        stage: str,
        percent: int,
        worker: str,
        once: Once | None = None,
    ) -> Committed:
        """Record that the attempt came to a stage; the account's ledger is not asked."""
        command = task.ReachStage(token=token, stage=stage, percent=percent)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            return metering.proceed(states[task_id], None, command, meta)

        origin = Origin(actor=worker)
        return await self._bus.execute(decide, origin, streams=(Stream(TASKS, task_id),), once=once)

    async def complete(
        self,
        task_id: UUID,
        account_id: UUID,
        *,
        token: int,
        result: Raw,
        worker: str,
        group_id: UUID | None = None,
        quantities: Quantities | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Record the result and capture the hold, in one commit; see `proceed`."""
        command = task.CompleteTask(token=token, result=result)
        return await self.proceed(
            task_id,
            account_id,
            command,
            worker=worker,
            group_id=group_id,
            quantities=quantities,
            once=once,
        )

    async def fail(
        self,
        task_id: UUID,
        account_id: UUID,
        *,
        token: int,
        failure: Failure,
        worker: str,
        retry_after_seconds: float | None = None,
        group_id: UUID | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Record the failure: another attempt comes later, or the hold is released with the end."""
        chance = _chance()

        def command_of(current: Task | None) -> RunCommand:
            return self.failing(
                "" if current is None else current.type,
                token=token,
                failure=failure,
                retry_after_seconds=retry_after_seconds,
                chance=chance,
            )

        return await self._carry_out(
            task_id,
            account_id,
            command_of,
            worker=worker,
            group_id=group_id,
            find=self._providers.closing(task_id, token, failure, retry_after_seconds),
            once=once,
        )

    def failing(
        self,
        type_: str,
        *,
        token: int,
        failure: Failure,
        retry_after_seconds: float | None = None,
        chance: float | None = None,
    ) -> task.FailTask:
        """The command for a failed attempt, with the retry policy of the task's type."""
        return task.FailTask(
            token=token,
            failure=failure,
            policy=self._types.retry_policy(type_),
            chance=_chance() if chance is None else chance,
            retry_after_seconds=retry_after_seconds,
        )

    async def release(
        self,
        task_id: UUID,
        account_id: UUID,
        *,
        token: int,
        reason: str,
        worker: str,
        group_id: UUID | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Hand a task back to the queue, unfinished."""
        command = task.ReleaseTask(token=token, reason=reason)
        return await self.proceed(
            task_id, account_id, command, worker=worker, group_id=group_id, once=once
        )

    async def present(self, task_id: UUID, worker: str) -> Task | None:
        """The task as the log has it now; nothing is written."""
        streams = (Stream(TASKS, task_id),)
        committed = await self._bus.execute(_nothing, Origin(actor=worker), streams=streams)
        found: Task | None = committed.states[task_id]
        return found

    async def _carry_out(
        self,
        task_id: UUID,
        account_id: UUID,
        command_of: Callable[[Task | None], RunCommand],
        *,
        worker: str,
        group_id: UUID | None,
        find: Find | None,
        once: Once | None,
    ) -> Committed:
        """What `command_of` makes of the task as it is; see `proceed`."""

        def decide(states: States, meta: Metadata, group: Group | None) -> Sequence[Event]:
            current: Task | None = states[task_id]
            account = states[account_id]
            plan = self._bus.plan_of(account)
            return metering.proceed(current, account, command_of(current), meta, group, plan)

        origin = Origin(actor=worker)
        return await self._bus.on_task(
            task_id, account_id, decide, origin, group_id=group_id, find=find, once=once
        )

    def _charging(
        self, current: Task | None, command: RunCommand, quantities: Quantities | None
    ) -> RunCommand:
        """A completion with its charge; any other command as it is."""
        if current is None or not isinstance(command, task.CompleteTask):
            return command
        measured = self._bus.pricing.measured(current, quantities)
        return replace(command, charge=measured.charge, quantities=measured.quantities)


def _chance() -> float:
    """Drawn once a command, outside its decision, which may be taken more than once."""
    return random.random()  # noqa: S311 - spreads retries, guards nothing


def _nothing(_states: States, _meta: Metadata) -> Sequence[Event]:
    return ()


def _startable(state: Task | None) -> bool:
    return state is not None and state.claimable
