"""The use cases: each method is one command, decided by the domain and committed with its money."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters.committer import Committer
from adapters.decision import (
    Committed,
    Cursor,
    Decision,
    Find,
    KeyRecord,
    States,
    StreamNeeded,
)
from adapters.providers import ProviderLimits, declare_providers, find_closing
from adapters.queue import find_claimable, find_lapsed, find_overdue
from adapters.reusable_results import ReusableResults
from domain import ledger, metering, reference, task
from domain.aggregate import AGGREGATE_OF, GROUPS, LEDGERS, REFERENCES, TASKS, Stream
from domain.errors import InvalidInput, KeyReused, NotFound, VersionMismatch
from domain.event import Event, Metadata
from domain.failure import Failure
from domain.group import Group
from domain.ledger_events import GrantKind
from domain.money import money_of, money_told, settled_in
from domain.plan import Plans
from domain.pricing import Quantities
from domain.reference import reference_id
from domain.retry import RETRY_AFTER_SECONDS_MAX
from domain.task import RunCommand, Task
from service.content_key import content_key
from service.identifiers import new_id
from service.price_files import shipped_plans
from service.pricing import PricesNeeded, Pricing
from service.result_reuse import ResultReuse, Submittal
from service.task_types import TaskTypes

SUBMISSIONS_MAX = 1_000
"""Most tasks of one `submit_many`."""
Answer = Callable[[States], KeyRecord]
OnTask = Callable[[States, Metadata, Group | None], Sequence[Event]]
"""A decision on a task, given its group where it has one."""
Books = dict[UUID, Any]
"""Ledgers and groups by id, as the events decided so far leave them."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a command, and within what; stands in every event it leads to."""

    actor: str
    correlation_id: UUID | None = None
    trace_id: str | None = None


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """Makes a command happen once: `key` digests whose, where and which, `fingerprint` the body.

    `answer(states)` is the reply that is kept with the events and given again.
    """

    key: bytes
    fingerprint: bytes
    answer: Answer


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its user asks for it: `input` a JSON object, `priority` a key of `PRIORITIES`.

    Without `cache` it is worked on even where a result could be reused.
    """

    task_id: UUID
    account_id: UUID
    type: str
    input: Raw
    priority: str = "normal"
    project: str | None = None
    not_before: datetime | None = None
    cache: bool = True


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
        self._declared = False
        self._reuse = ResultReuse(types, results)

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
        account_id, task_id = submission.account_id, submission.task_id
        submittal = await self.submittal(submission)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            account = account_in(states, account_id)
            plan = self.plans.named(account.balance.plan)
            return metering.submit(
                states[task_id], account, submittal.command, plan, meta, reuse=submittal.reuse
            )

        return await self.execute(
            decide,
            origin,
            streams=(Stream(LEDGERS, account_id),),
            new=(Stream(TASKS, task_id),),
            once=once,
        )

    async def submit_many(
        self, account_id: UUID, submissions: Sequence[Submission], *, origin: Origin
    ) -> Committed:
        """Submit at most `SUBMISSIONS_MAX` tasks of one account: all in one commit, or none."""
        if len(submissions) > SUBMISSIONS_MAX:
            detail = f"must be at most {SUBMISSIONS_MAX}"
            raise InvalidInput("Too many tasks at once.", ("", detail))
        submittals = await self._submittals(submissions)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            account = account_in(states, account_id)
            plan = self.plans.named(account.balance.plan)
            events: list[Event] = []
            for submittal in submittals:
                command = submittal.command
                decided = metering.submit(
                    states[command.task_id], account, command, plan, meta, reuse=submittal.reuse
                )
                account = ledger.evolved(account, decided)
                events += decided
            return events

        return await self.execute(
            decide,
            origin,
            streams=(Stream(LEDGERS, account_id),),
            new=tuple(Stream(TASKS, submission.task_id) for submission in submissions),
        )

    async def _submittals(self, submissions: Sequence[Submission]) -> list[Submittal]:
        """Raises `UnknownTaskType`, `InvalidInput`, and `Unavailable` where results are looked for.

        One look for all; tasks of types without a cache, and those that ask for none, cost none.
        """
        return await self._reuse.submittals(
            [(self.submit_command(submission), submission.cache) for submission in submissions]
        )

    async def submittal(self, submission: Submission) -> Submittal:
        """How a submission is carried out today: with its price, maybe by a result that is there.

        Raises as `submit` does.
        """
        [submittal] = await self._submittals([submission])
        return submittal

    def submit_command(self, submission: Submission) -> task.SubmitTask:
        """What a submission comes to today, with its type's price. Raises as `submit` does."""
        handler = self._types.named(submission.type)
        task_input = self._types.read_input(submission.type, submission.input)
        terms = self.pricing.estimate(handler, task_input).terms
        return task.SubmitTask(
            task_id=submission.task_id,
            account_id=submission.account_id,
            type=submission.type,
            input=submission.input,
            hold_id=new_id(),
            credits=terms.credits,
            price_version=terms.price_version,
            attempts_max=handler.attempts_max,
            queue_seconds_max=handler.queue_seconds_max,
            run_seconds_max=handler.run_seconds_max,
            priority=task.PRIORITIES.get(submission.priority, -1),
            project=submission.project,
            not_before=submission.not_before,
            content_key=content_key(handler, submission.account_id, task_input),
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
            current = _own_task(states, task_id, account_id, expected_version)
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
            current = _own_task(states, task_id, account_id, expected_version)
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
            if not self._declared:
                await self._declare_providers(cursor)
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
        self._declared = True
        return [state for state in committed.states.values() if type(state) is Task]

    async def _declare_providers(self, cursor: Cursor) -> None:
        """The limits of this process's task types hold for all processes from its first claim."""
        types = self._types
        limits = [
            ProviderLimits(p.name, p.running_tasks_max, p.starts_per_minute_max)
            for p in types.providers
        ]
        await declare_providers(cursor, limits, types.provider_names, types.names)

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
            find = self._closing(task_id, command.token, command.failure, asked)
        origin = Origin(actor=worker)
        try:
            return await self._on_task(
                task_id, account_id, decide, origin, group_id=group_id, find=find, once=once
            )
        except PricesNeeded as needed:
            await self.pricing.learn(needed.version)
        return await self._on_task(
            task_id, account_id, decide, origin, group_id=group_id, find=find, once=once
        )

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

        find = self._closing(task_id, token, failure, retry_after_seconds)
        origin = Origin(actor=worker)
        return await self._on_task(
            task_id, account_id, decide, origin, group_id=group_id, find=find, once=once
        )

    def _closing(
        self, task_id: UUID, token: int, failure: Failure, asked_seconds: float | None
    ) -> Find | None:
        """Closes the provider that has refused an attempt for its rate; None for other failures."""
        if failure.type != "rate_limited":
            return None

        def pause(type_: str, failures: int) -> float:
            if asked_seconds is not None:
                return min(asked_seconds, RETRY_AFTER_SECONDS_MAX)
            return self._types.retry_policy(type_).pause_seconds(failures + 1, 0.0)

        return find_closing(task_id, token, pause)

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
        return await self._sweep(
            find_lapsed(limit),
            lambda lapsed: None if lapsed.worker is None else task.StallTask(token=lapsed.token),
            Origin(actor="rescue"),
        )

    async def expire(self, limit: int) -> int:
        """Fail as `timeout` at most `limit` tasks that are past their deadline; how many."""
        return await self._sweep(
            find_overdue(limit), lambda _: task.ExpireTask(), Origin(actor="deadlines")
        )

    async def _sweep(
        self, find: Find, command_for: Callable[[Task], RunCommand | None], origin: Origin
    ) -> int:
        """Give each task that `find` names its command, and settle those that end; how many."""
        found: list[Stream] = []
        acted: list[Task] = []

        async def remember(cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
            found[:] = await find(cursor, taken)
            return found

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            """Maybe not the first time, and then on what somebody else has changed meanwhile."""
            events: list[Event] = []
            acted.clear()
            books: Books = {s.id: states[s.id] for s in found if s.aggregate is not TASKS}
            for swept in (states[s.id] for s in found if s.aggregate is TASKS):
                command = None if swept.ended else command_for(swept)
                if command is None:
                    continue
                acted.append(swept)
                group = None if swept.group_id is None else books[swept.group_id]
                paying = books[swept.account_id]
                events += _entered(metering.proceed(swept, paying, command, meta, group), books)
            return events

        await self.execute(decide, origin, find=remember)
        return len(acted)

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


def _entered(events: Sequence[Event], books: Books) -> Sequence[Event]:
    """The same events, once `books` are as they leave them."""
    for event in events:
        stream_id = event.originator_id
        if stream_id in books:
            books[stream_id] = AGGREGATE_OF[type(event)].evolve(books[stream_id], event)
    return events


def _startable(state: Task | None) -> bool:
    return state is not None and state.claimable


def account_in(states: States, account_id: UUID) -> ledger.CreditLedger:
    """Raises `NotFound`."""
    account: ledger.CreditLedger | None = states[account_id]
    if account is None:
        raise NotFound("There is no such account.")
    return account


def _own_task(
    states: States, task_id: UUID, account_id: UUID, expected_version: int | None
) -> Task:
    """The task if it is this account's. Raises `NotFound`, then `VersionMismatch`."""
    current: Task | None = states[task_id]
    if current is None or current.account_id != account_id:
        raise NotFound("There is no such task.")
    if expected_version is not None and expected_version != current.version:
        raise VersionMismatch(expected_version, current.version)
    return current
