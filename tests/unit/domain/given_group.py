"""Groups as a test begins with them: played through metering, with their tasks and account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from msgspec import Raw

from domain import group, ledger, metering, task
from domain.event import Event
from domain.group import CancelGroup, Group, MemberTask, RetryGroup, StartGroup
from domain.group_events import GroupEvent
from domain.ledger import CreditLedger
from domain.ledger_events import LedgerEvent
from domain.plan import Plan
from domain.pricing import Terms
from domain.task import (
    CancelTask,
    CompleteTask,
    ConfirmCancel,
    FailTask,
    RunCommand,
    StartTask,
    Task,
)
from tests.unit.domain.given import (
    ACCOUNT_ID,
    BROKEN,
    ROOMY,
    a_ledger,
    grant,
    metadata,
)

GROUP_ID = UUID(int=500)
GROUP_HOLD_ID = UUID(int=501)
NEXT_GROUP_HOLD_ID = UUID(int=502)
NEW_TASK_IDS = tuple(UUID(int=700 + number) for number in range(10))
NEXT_PRICE = 7


def member(number: int, price: int = 10) -> MemberTask:
    return MemberTask(
        task_id=UUID(int=600 + number),
        type="image_generation",
        input=Raw(b'{"shot":%d}' % number),
        credits=price,
        attempts_max=2,
        queue_seconds_max=600,
        run_seconds_max=60,
    )


TERMS = {member(number).task_id: Terms(credits=NEXT_PRICE) for number in range(10)}
"""Of the members' first tasks."""


def starting(
    members: int = 4,
    *,
    parallel_max: int = 2,
    hold_id: UUID = GROUP_HOLD_ID,
    priority: int = 2,
    prices: Sequence[int] = (),
) -> StartGroup:
    given = prices or [10] * members
    return StartGroup(
        group_id=GROUP_ID,
        account_id=ACCOUNT_ID,
        kind="storyboard",
        key="board 7",
        project="films",
        hold_id=hold_id,
        parallel_max=parallel_max,
        priority=priority,
        members=tuple(member(number, price) for number, price in enumerate(given)),
    )


class Played:
    """A funded account and what came of its groups; `events` of the last command alone."""

    def __init__(self, credits_granted: int = 100, plan: Plan = ROOMY) -> None:
        self.plan = plan
        self.ledger: CreditLedger = a_ledger(grant(credits_granted))
        self.group: Group | None = None
        self.tasks: dict[UUID, Task] = {}
        self.log: list[Event] = []
        self.events: list[Event] = []

    @property
    def state(self) -> Group:
        assert self.group is not None
        return self.group

    @property
    def topics(self) -> list[str]:
        """Of the last command."""
        return [event.TOPIC for event in self.events]

    @property
    def money(self) -> tuple[int, int, int]:
        """Available, held and captured."""
        balance = self.ledger.balance
        return balance.available, balance.held, balance.captured

    @property
    def statuses(self) -> list[str]:
        return [one.status for one in self.state.members]

    def start(self, command: StartGroup | None = None) -> Played:
        given = command or starting()
        return self.take(
            metering.start_group(self.group, self.ledger, given, self.plan, metadata())
        )

    def retry(self, hold_id: UUID = NEXT_GROUP_HOLD_ID) -> Played:
        terms = {one.task_id: Terms(credits=NEXT_PRICE) for one in self.state.undelivered}
        command = RetryGroup(hold_id=hold_id, task_ids=NEW_TASK_IDS, terms=terms)
        return self.take(
            metering.retry_group(self.group, self.ledger, command, self.plan, metadata())
        )

    def cancel(self) -> Played:
        at_work = tuple(self.tasks[one.task_id] for one in self.state.active)
        command = CancelGroup(reason="enough")
        return self.take(
            metering.cancel_group(self.group, self.ledger, at_work, command, metadata())
        )

    def on_task(self, number: int, *commands: RunCommand) -> Played:
        """Commands for the task that member `number` has now."""
        for command in commands:
            state = self.tasks[self.state.members[number].task_id]
            self.take(metering.proceed(state, self.ledger, command, metadata(), self.group))
        return self

    def run(self, number: int) -> Played:
        return self.on_task(number, StartTask(worker="w"))

    def deliver(self, number: int, charge: int | None = None) -> Played:
        return self.run(number).on_task(
            number, CompleteTask(token=1, result=Raw(b"{}"), charge=charge)
        )

    def fail(self, number: int) -> Played:
        return self.run(number).on_task(number, FailTask(token=1, failure=BROKEN))

    def cancel_member(self, number: int) -> Played:
        return self.on_task(number, CancelTask())

    def confirm_cancel(self, number: int) -> Played:
        return self.on_task(number, ConfirmCancel(token=1))

    def take(self, events: Iterable[Event]) -> Played:
        self.events = list(events)
        for event in self.events:
            self.log.append(event)
            if isinstance(event, GroupEvent):
                self.group = group.evolve(self.group, event)
            elif isinstance(event, LedgerEvent):
                self.ledger = ledger.evolve(self.ledger, event)
            else:
                known = self.tasks.get(event.originator_id)
                self.tasks[event.originator_id] = task.evolve(known, event)
        return self


def group_in(status: str) -> Played:
    """A group of two members, one at a time, brought to a state; its first member has ended.

    The second one is at work unless the group has ended.
    """
    played = Played().start(starting(2, parallel_max=1))
    match status:
        case "processing":
            return played.deliver(0)
        case "completed":
            return played.deliver(0).deliver(1)
        case "partial":
            return played.deliver(0).fail(1)
        case "failed":
            return played.fail(0).fail(1)
        case "cancelling":
            return played.deliver(0).run(1).cancel()
        case _:
            assert status == "cancelled"
            return played.deliver(0).run(1).cancel().confirm_cancel(1)


def group_at_work(status: str, members: int) -> Played:
    """A group that is processing or cancelling, with its last members at work, two at most."""
    played = Played().start(starting(members, parallel_max=2))
    for number in range(members - 2):
        played.deliver(number)
    for number in range(max(0, members - 2), members):
        played.run(number)
    return played.cancel() if status == "cancelling" else played
