"""Schedules as use cases: each firing is one commit with its task and hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

import msgspec
from msgspec import Raw

from adapters.cron import cron_times
from adapters.decision import Committed, Cursor, States
from adapters.documents import find_due
from adapters.schedules import find_schedules_of
from domain import ledger, metering, schedule
from domain.aggregate import LEDGERS, SCHEDULES, Stream
from domain.errors import InvalidInput, LimitReached, NotFound, OperatorsOnly
from domain.event import Event, Metadata
from domain.ledger import CreditLedger
from domain.schedule import DeleteSchedule, PauseSchedule, ResumeSchedule, Schedule
from domain.task import PRIORITIES
from service.command import Once, Origin
from service.command_bus import CommandBus
from service.identifiers import new_id
from service.ownership import account_in
from service.submission import Submission
from service.task_types import TaskTypes

SCHEDULES_MAX = 100
_BY_PRIORITY = {number: name for name, number in PRIORITIES.items()}


class ScheduleLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Schedules of one account, and refused firings in a row before one pauses by itself."""

    schedules_max: int = SCHEDULES_MAX
    skips_max: int = schedule.SKIPS_MAX


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """As its user asks for it: `input` a JSON object, `priority` a key of `PRIORITIES`."""

    schedule_id: UUID
    account_id: UUID
    cron: str
    zone: str
    type: str
    input: Raw
    priority: str = "normal"
    name: str | None = None
    project: str | None = None


class Schedules:
    """Every method raises the domain's typed refusals and the committer's errors."""

    def __init__(
        self, bus: CommandBus, types: TaskTypes, limits: ScheduleLimits | None = None
    ) -> None:
        self._bus = bus
        self._types = types
        self._limits = limits or ScheduleLimits()

    async def create(
        self, new: NewSchedule, *, origin: Origin, once: Once | None = None
    ) -> Committed:
        """Begin a schedule. Its input is checked now as a submission's would be."""
        self._types.read_input(new.type, new.input)
        times = cron_times(new.cron, new.zone)
        command = self._create_command(new)
        stream = Stream(SCHEDULES, new.schedule_id)
        operator = self._types.named(new.type).operator
        present: list[Stream] = []
        find = find_schedules_of(new.account_id, self._limits.schedules_max)

        async def remember(cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
            present[:] = await find(cursor, taken)
            return present

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            self._guard_number(states, present, new.account_id)
            if operator:
                self._guard_operator(states, new)
            return schedule.decide(states[new.schedule_id], command, times, meta)

        streams = (Stream(LEDGERS, new.account_id),) if operator else ()
        return await self._bus.execute(
            decide, origin, streams=streams, new=(stream,), find=remember, once=once
        )

    def _guard_operator(self, states: States, new: NewSchedule) -> None:
        account = account_in(states, new.account_id)
        if not self._bus.plans.named(account.balance.plan).operator:
            raise OperatorsOnly(new.type)

    def _create_command(self, new: NewSchedule) -> schedule.CreateSchedule:
        return schedule.CreateSchedule(
            schedule_id=new.schedule_id,
            account_id=new.account_id,
            cron=new.cron,
            zone=new.zone,
            type=new.type,
            input=new.input,
            priority=PRIORITIES.get(new.priority, -1),
            skips_max=self._limits.skips_max,
            name=new.name,
            project=new.project,
        )

    def _guard_number(self, states: States, present: Sequence[Stream], account_id: UUID) -> None:
        """Those that the same batch has made or deleted count, or not, as well."""
        ids = {stream.id for stream in present} | set(states)
        found = (states[one] for one in ids)
        count = sum(
            isinstance(one, Schedule) and one.account_id == account_id and not one.ended
            for one in found
        )
        if count >= self._limits.schedules_max:
            raise LimitReached("schedules_max", self._limits.schedules_max)

    async def pause(
        self,
        schedule_id: UUID,
        account_id: UUID,
        *,
        reason: str,
        origin: Origin,
        once: Once | None = None,
    ) -> Committed:
        """Let it fire no more until it is resumed."""
        return await self._change(
            schedule_id, account_id, PauseSchedule(reason=reason), origin, once
        )

    async def resume(
        self, schedule_id: UUID, account_id: UUID, *, origin: Origin, once: Once | None = None
    ) -> Committed:
        """Let it fire again, from its next time on."""
        return await self._change(schedule_id, account_id, ResumeSchedule(), origin, once)

    async def delete(
        self, schedule_id: UUID, account_id: UUID, *, origin: Origin, once: Once | None = None
    ) -> Committed:
        """End it; the tasks that it submitted go on."""
        return await self._change(schedule_id, account_id, DeleteSchedule(), origin, once)

    async def _change(
        self,
        schedule_id: UUID,
        account_id: UUID,
        command: PauseSchedule | ResumeSchedule | DeleteSchedule,
        origin: Origin,
        once: Once | None,
    ) -> Committed:
        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            current: Schedule | None = states[schedule_id]
            if current is None or current.account_id != account_id:
                raise NotFound("There is no such schedule.")
            resuming = isinstance(command, ResumeSchedule)
            times = cron_times(current.cron, current.zone) if resuming else None
            return schedule.decide(current, command, times, meta)

        return await self._bus.execute(
            decide, origin, streams=(Stream(SCHEDULES, schedule_id),), once=once
        )

    async def fire(self, limit: int) -> int:
        """Submit the tasks of at most `limit` schedules that are due; how many had their turn.

        Exactly once each over all processes: a task, its hold and the fact that the schedule fired
        are one commit.
        """
        found: list[Stream] = []
        find = find_due(SCHEDULES, limit)
        ids: dict[UUID, UUID] = defaultdict(new_id)
        fired: set[UUID] = set()

        async def remember(cursor: Cursor, taken: Sequence[Stream]) -> Sequence[Stream]:
            found[:] = await find(cursor, taken)
            return found

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            firing = _Firings(self._bus, states, ids)
            due = [states[stream.id] for stream in found if stream.aggregate is SCHEDULES]
            events = [event for one in due for event in firing.fire(one, meta)]
            fired.clear()
            fired.update({one.id for one in due} & {event.originator_id for event in events})
            return events

        await self._bus.execute(decide, Origin(actor="schedules"), find=remember)
        return len(fired)


class _Firings:
    """The firings of one sweep, each on the balance that those before it leave."""

    def __init__(self, bus: CommandBus, states: States, ids: dict[UUID, UUID]) -> None:
        self._bus = bus
        self._states = states
        self._ids = ids
        self._ledgers: dict[UUID, CreditLedger] = {}

    def fire(self, due: Schedule, meta: Metadata) -> Sequence[Event]:
        """What the schedule leads to; all of it correlates by the schedule's id."""
        within = msgspec.structs.replace(meta, correlation_id=due.id)
        try:
            times = cron_times(due.cron, due.zone)
        except InvalidInput as refusal:
            return schedule.give_up(due, refusal, within)
        events = schedule.fire(due, times, lambda: self._submitted(due, within), within)
        account = self._ledger(due.account_id)
        if account is not None:
            self._ledgers[due.account_id] = ledger.evolved(account, events)
        return events

    def _submitted(self, due: Schedule, meta: Metadata) -> Sequence[Event]:
        account = self._ledger(due.account_id)
        if account is None:
            raise NotFound("There is no such account.")
        submission = _submission(due, self._ids[due.id])
        command = self._bus.submissions.command(submission)
        plan = self._bus.plans.named(account.balance.plan)
        return metering.submit(None, account, command, plan, meta)

    def _ledger(self, account_id: UUID) -> CreditLedger | None:
        known = self._ledgers.get(account_id)
        return cast("CreditLedger | None", self._states[account_id]) if known is None else known


def _submission(due: Schedule, task_id: UUID) -> Submission:
    return Submission(
        task_id=task_id,
        account_id=due.account_id,
        type=due.type,
        input=due.input,
        priority=_BY_PRIORITY[due.priority],
        project=due.project,
    )


def next_times(shown: Schedule, count: int) -> list[datetime]:
    """When it fires next; nothing unless it is active. At most `count` times."""
    if shown.next_at is None:
        return []
    try:
        following = cron_times(shown.cron, shown.zone).next_times(shown.next_at, count - 1)
    except InvalidInput:
        return [shown.next_at]
    return [shown.next_at, *following]
