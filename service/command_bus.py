"""The use cases: each method is one command, decided by the domain and committed with its money."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from adapters.committer import Committer
from adapters.decision import Committed, Decision, Find, States, StreamNeeded
from adapters.queue import find_lapsed, find_overdue
from adapters.reusable_results import ReusableResults
from adapters.stored_bytes import StoredBytes
from domain import ledger, metering, reference, task
from domain.aggregate import GROUPS, LEDGERS, REFERENCES, TASKS, Stream
from domain.errors import KeyReused
from domain.event import Event, Metadata
from domain.group import Group
from domain.ledger import CreditLedger
from domain.ledger_events import GrantKind
from domain.money import money_of, money_told, settled_in
from domain.plan import Plan, Plans
from domain.reference import reference_id
from domain.task import RunCommand, Task
from service.command import Once, Origin
from service.identifiers import new_id
from service.lapses import Lapses
from service.ownership import account_in, own_task
from service.price_files import shipped_plans
from service.pricing import Pricing
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
        stored: StoredBytes | None = None,
    ) -> None:
        self._committer = committer
        self.plans = plans or shipped_plans()
        self.pricing = pricing or Pricing(types)
        bounded = any(plan.stored_bytes_max is not None for plan in self.plans)
        reuse = ResultReuse(types, results)
        self.submissions = Submissions(types, self.pricing, reuse, stored if bounded else None)

    # Accounts

    def plan_of(self, account: CreditLedger | None) -> Plan | None:
        """By which its owner is told; None without an account, and for one no longer in force."""
        return None if account is None else self.plans.known(account.balance.plan)

    async def open_account(
        self,
        account_id: UUID,
        *,
        plan: str,
        name: str | None,
        origin: Origin,
        reason: str = "",
        once: Once | None = None,
    ) -> Committed:
        """Open an account without credits."""
        command = ledger.OpenAccount(
            account_id=account_id, plan=self.plans.named(plan).name, name=name, reason=reason
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
        """Grant credits; the same `source_ref` again changes nothing, if all else is the same."""
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
            return reference.decide(states[used], account, command, meta, self.plan_of(account))

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
                account = states[account_id]
                plan = self.plan_of(account)
                return metering.proceed(current, account, command, meta, group, plan)

        return await self.on_task(task_id, account_id, decide, origin, once=once)

    # The service's own

    async def rescue(self, limit: int) -> int:
        """Queue again (or fail as `stalled`) at most `limit` tasks whose lease lapsed; how many."""
        return await self._end(Lapses(find_lapsed(limit), _stalled, self.plan_of), "rescue")

    async def expire(self, limit: int) -> int:
        """Fail as `timeout` at most `limit` tasks that are past their deadline; how many."""
        return await self._end(Lapses(find_overdue(limit), _expired, self.plan_of), "deadlines")

    async def _end(self, lapses: Lapses, actor: str) -> int:
        await self.execute(lapses.decide, Origin(actor=actor), find=lapses.find)
        return lapses.count

    async def on_task(
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
        return await self.on_task(
            task_id, account_id, decide, origin, group_id=found, find=find, once=once
        )

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


def _both(task_id: UUID, account_id: UUID) -> tuple[Stream, Stream]:
    return Stream(TASKS, task_id), Stream(LEDGERS, account_id)


def _stalled(lapsed: Task) -> RunCommand | None:
    return None if lapsed.worker is None else task.StallTask(token=lapsed.token)


def _expired(_: Task) -> RunCommand:
    return task.ExpireTask()
