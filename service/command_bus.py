"""The use cases: each method is one command, decided by the domain and committed with its money."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from msgspec import Raw
from msgspec.structs import replace

from adapters.committer import Committer
from adapters.decision import Committed, Cursor, Decision, Find, States, StreamNeeded
from adapters.queue import find_claimable, find_lapsed, find_overdue
from adapters.reusable_results import ReusableResults
from domain import ledger, metering, reference, task
from domain.aggregate import GROUPS, LEDGERS, REFERENCES, TASKS, Stream
from domain.errors import KeyReused
from domain.event import Event, Metadata
from domain.failure import Failure
from domain.group import Group
from domain.ledger_events import GrantKind
from domain.money import money_of, money_told, settled_in
from domain.plan import Plans
from domain.pricing import Quantities
from domain.reference import reference_id
from domain.task import RunCommand, Task
from service.command import Once, Origin
from service.identifiers import new_id
from service.lapses import Lapses
from service.ownership import account_in, own_task
from service.price_files import shipped_plans
from service.pricing import PricesNeeded, Pricing
from service.provider_rules import ProviderRules
from service.result_reuse import ResultReuse
from service.submission import Submission, Submissions
from service.task_types import TaskTypes

OnTask = Callable[[States, Metadata, Group | None], Sequence[Event]]
"""A decision on a task, given its group where it has one."""


class CommandBus:
    """Carries out commands, by the shipped plans and the types' own prices unless others are given.

    Every method raises the domain's typed refusals and the committer's errors.
    """

    def __init__(
        self,
        committer: Committer,
        types: TaskTypes,
        results: ReusableResults | None = None,
        *,
        plans: Plans | None = None,
        pricing: Pricing | None = None,
    ) -> None:
        self._committer = committer
        self.plans = plans or shipped_plans()
        self.pricing = pricing or Pricing(types)
        self._types = types
        self.submissions = Submissions(types, self.pricing, ResultReuse(types, results))
        self._providers = ProviderRules(types)

    # Accounts

    async def open_account(
        self,
        account_id: UUID,
        *,
        plan: str,
        name: str | None,
        origin: Origin,
        once: Once | None = None,
    ) -> Committed:
        """Open an account without credits."""
        command = ledger.OpenAccount(
            account_id=account_id, plan=self.plans.named(plan).name, name=name
        )

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            return ledger.decide(states[account_id], command, meta)

        return await self.execute(decide, origin, new=(Stream(LEDGERS, account_id),), once=once)

    async def grant(
        self,
        account_id: UUID,
        *,
        amount: int,
        kind: GrantKind,
        source_ref: str,
        reason: str,
        origin: Origin,
        priority: int = ledger.GRANT_PRIORITY_DEFAULT,
        once: Once | None = None,
    ) -> Committed:
        """Grant credits; the same `source_ref` again changes nothing."""
        command = ledger.GrantCredits(
            grant_id=new_id(),
            kind=kind,
            amount=amount,
            source_ref=source_ref,
            priority=priority,
            reason=reason,
        )

        used = reference_id(account_id, source_ref)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            account = account_in(states, account_id)
            return reference.decide(states[used], account, command, meta)

        streams = (Stream(LEDGERS, account_id), Stream(REFERENCES, used))
        return await self.execute(decide, origin, streams=streams, once=once)

    # Users' verbs

    async def submit(
        self, submission: Submission, *, origin: Origin, once: Once | None = None
    ) -> Committed:
        """Hold the type's price and queue the task, in one commit.

        Where a result can be reused, the task is completed with it and charged by the same commit.
        """
        return await self._submit(submission.account_id, [submission], origin, once)

    async def submit_many(
        self, account_id: UUID, submissions: Sequence[Submission], *, origin: Origin
    ) -> Committed:
        """Submit at most `SUBMISSIONS_MAX` tasks of one account: all in one commit, or none."""
        return await self._submit(account_id, submissions, origin, once=None)

    async def _submit(
        self,
        account_id: UUID,
        submissions: Sequence[Submission],
        origin: Origin,
        once: Once | None,
    ) -> Committed:
        submittals = await self.submissions.submittals(submissions)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            account = account_in(states, account_id)
            plan = self.plans.named(account.balance.plan)
            events: list[Event] = []
            decided: Sequence[Event] = ()
            for one in submittals:
                account = ledger.evolved(account, decided)
                current = states[one.command.task_id]
                decided = metering.submit(
                    current, account, one.command, plan, meta, reuse=one.reuse
                )
                events += decided
            return events

        return await self.execute(
            decide,
            origin,
            streams=(Stream(LEDGERS, account_id),),
            new=tuple(Stream(TASKS, submission.task_id) for submission in submissions),
            once=once,
        )

    async def cancel(
        self,
        task_id: UUID,
        account_id: UUID,
        *,
        reason: str,
        origin: Origin,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Cancel a queued task at once, or ask the worker of a running one to stop."""
        command = task.CancelTask(reason=reason)
        return await self._user_command(
            task_id, account_id, command, origin, expected_version, once
        )

    async def retry(
        self,
        task_id: UUID,
        account_id: UUID,
        *,
        origin: Origin,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Open the next run of a failed task, with a new hold at today's price."""
        hold_id = new_id()

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            current = own_task(states, task_id, account_id, expected_version)
            terms = self.pricing.terms_of(current.type, current.input)
            account = account_in(states, account_id)
            plan = self.plans.named(account.balance.plan)
            command = task.RetryTask(
                hold_id=hold_id, credits=terms.credits, price_version=terms.price_version
            )
            with money_told(money_of(current)):
                return metering.retry(current, account, command, plan, meta)

        return await self.execute(decide, origin, streams=_both(task_id, account_id), once=once)

    async def _user_command(
        self,
        task_id: UUID,
        account_id: UUID,
        command: RunCommand,
        origin: Origin,
        expected_version: int | None,
        once: Once | None,
    ) -> Committed:
        def decide(states: States, meta: Metadata, group: Group | None) -> Sequence[Event]:
            current = own_task(states, task_id, account_id, expected_version)
            with money_told(money_of(current, settled=settled_in(current, group))):
                return metering.proceed(current, states[account_id], command, meta, group)

        return await self._on_task(task_id, account_id, decide, origin, once=once)

    # Workers' verbs

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

        committed = await self.execute(decide, Origin(actor=worker), find=remember)
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

        def decide(states: States, meta: Metadata, group: Group | None) -> Sequence[Event]:
            current: Task | None = states[task_id]
            charging = self._charging(current, command, quantities)
            return metering.proceed(current, states[account_id], charging, meta, group)

        find = None
        if isinstance(command, task.FailTask):
            asked = command.retry_after_seconds
            find = self._providers.closing(task_id, command.token, command.failure, asked)
        work = partial(
            self._on_task,
            task_id,
            account_id,
            decide,
            Origin(actor=worker),
            group_id=group_id,
            find=find,
            once=once,
        )
        try:
            return await work()
        except PricesNeeded as needed:
            await self.pricing.learn(needed.version)
        return await work()

    def _charging(
        self, current: Task | None, command: RunCommand, quantities: Quantities | None
    ) -> RunCommand:
        """A completion with its charge; any other command as it is."""
        if current is None or not isinstance(command, task.CompleteTask):
            return command
        measured = self.pricing.measured(current, quantities)
        return replace(command, charge=measured.charge, quantities=measured.quantities)

    async def _on_task(
        self,
        task_id: UUID,
        account_id: UUID,
        decide: OnTask,
        origin: Origin,
        *,
        group_id: UUID | None = None,
        find: Find | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Decide on a task with its ledger, and with its group if it is a member of one."""

        def with_group(states: States, meta: Metadata) -> Sequence[Event]:
            current: Task | None = states[task_id]
            if current is None or current.group_id is None:
                return decide(states, meta, None)
            if current.group_id != group_id:
                raise StreamNeeded(Stream(GROUPS, current.group_id))
            return decide(states, meta, states[group_id])

        groups = () if group_id is None else (Stream(GROUPS, group_id),)
        streams = (*_both(task_id, account_id), *groups)
        try:
            return await self.execute(with_group, origin, streams=streams, find=find, once=once)
        except StreamNeeded as needed:
            if group_id is not None:
                raise
            found = needed.stream.id
        return await self._on_task(
            task_id, account_id, decide, origin, group_id=found, find=find, once=once
        )

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
        return await self.execute(decide, origin, streams=(Stream(TASKS, task_id),), once=once)

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

        def decide(states: States, meta: Metadata, group: Group | None) -> Sequence[Event]:
            current: Task | None = states[task_id]
            command = self.failing(
                "" if current is None else current.type,
                token=token,
                failure=failure,
                retry_after_seconds=retry_after_seconds,
                chance=chance,
            )
            return metering.proceed(current, states[account_id], command, meta, group)

        find = self._providers.closing(task_id, token, failure, retry_after_seconds)
        origin = Origin(actor=worker)
        return await self._on_task(
            task_id, account_id, decide, origin, group_id=group_id, find=find, once=once
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

    # The service's own

    async def rescue(self, limit: int) -> int:
        """Queue again (or fail as `stalled`) at most `limit` tasks whose lease lapsed; how many."""
        return await self._end(Lapses(find_lapsed(limit), _stalled), "rescue")

    async def expire(self, limit: int) -> int:
        """Fail as `timeout` at most `limit` tasks that are past their deadline; how many."""
        return await self._end(Lapses(find_overdue(limit), _expired), "deadlines")

    async def _end(self, lapses: Lapses, actor: str) -> int:
        await self.execute(lapses.decide, Origin(actor=actor), find=lapses.find)
        return lapses.count

    async def execute(
        self,
        decide: Callable[[States, Metadata], Sequence[Event]],
        origin: Origin,
        *,
        streams: tuple[Stream, ...] = (),
        new: tuple[Stream, ...] = (),
        find: Find | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Carry out a command, maybe one that a module of its own decides; see `Decision`."""
        command_id = new_id()
        committed = await self._committer.execute(
            Decision(
                decide=decide,
                command_id=command_id,
                actor=origin.actor,
                correlation_id=origin.correlation_id or command_id,
                trace_id=origin.trace_id,
                streams=streams,
                new=new,
                find=find,
                key=once.key if once else None,
                record=once.answer if once else None,
            )
        )
        if once and committed.replayed and committed.replayed.fingerprint != once.fingerprint:
            raise KeyReused
        return committed


def _chance() -> float:
    """Drawn once a command, outside its decision, which may be taken more than once."""
    return random.random()  # noqa: S311 - spreads retries, guards nothing


def _both(task_id: UUID, account_id: UUID) -> tuple[Stream, Stream]:
    return Stream(TASKS, task_id), Stream(LEDGERS, account_id)


def _startable(state: Task | None) -> bool:
    return state is not None and state.claimable


def _stalled(lapsed: Task) -> RunCommand | None:
    return None if lapsed.worker is None else task.StallTask(token=lapsed.token)


def _expired(_: Task) -> RunCommand:
    return task.ExpireTask()
