"""Where tasks, groups and their money meet: each decision gives the events of all, for one append.

A task pays for itself out of its own hold. The members of a group are paid out of the group's one
hold, which is settled once, with the end of the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from uuid import UUID

from msgspec.structs import replace

from domain import group as groups
from domain import ledger as ledgers
from domain import task as tasks
from domain.errors import NotFound, OperatorsOnly, StorageFull
from domain.event import Event, Metadata
from domain.group import CancelGroup, EndMember, Group, Member, RetryGroup, StartGroup
from domain.group_events import GroupEnd, GroupEvent, GroupMemberEnded, Outcome
from domain.ledger import CaptureHold, CreditLedger, HoldCredits, ReleaseHold
from domain.ledger_events import CreditsHeld, LedgerEvent
from domain.plan import Plan
from domain.task import (
    PRIORITIES,
    CancelTask,
    RetryTask,
    ReuseResult,
    RunCommand,
    SubmitTask,
    Task,
)
from domain.task_events import TaskCancelled, TaskCompleted, TaskEvent, TaskFailed

Ending = TaskCompleted | TaskFailed | TaskCancelled


def submit(
    task: Task | None,
    ledger: CreditLedger | None,
    command: SubmitTask,
    plan: Plan,
    meta: Metadata,
    *,
    reuse: ReuseResult | None = None,
) -> tuple[Event, ...]:
    """A new task with the hold on its credits; with `reuse` also its end, and the hold captured.

    Refusals are the plan's for the type and what is stored, then the task's, then the ledger's: a
    result is not had without credits and room.
    """
    _guard_plan(command, plan)
    raised = command
    if plan.priority_raise:
        raised = replace(command, priority=_raised(command.priority, plan))
    submitted = tasks.decide(task, raised, meta)
    hold = _hold(command.hold_id, command.task_id, command.type, command, plan)
    held = _paid(ledger, command.account_id, hold, meta)
    if plan.trial_tasks and _is_trial(held):
        submitted = tasks.decide(task, replace(raised, credits=0, trial=True), meta)
    if reuse is None:
        return (*submitted, *held)
    task = reduce(tasks.evolve, submitted, task)
    ledger = reduce(ledgers.evolve, held, ledger)
    return (*submitted, *held, *proceed(task, ledger, reuse, meta, None, plan))


def _guard_plan(command: SubmitTask, plan: Plan) -> None:
    """What is asked for is one for the account's plan, and there is room for what it may store."""
    if command.operator and not plan.operator:
        raise OperatorsOnly(command.type)
    stored, bytes_max = command.stored_bytes, plan.stored_bytes_max
    if stored is not None and bytes_max is not None and stored >= bytes_max:
        raise StorageFull(stored, bytes_max)


def retry(
    task: Task | None, ledger: CreditLedger | None, command: RetryTask, plan: Plan, meta: Metadata
) -> tuple[Event, ...]:
    """The next run of a failed task, with a new hold. Refusals are the task's first."""
    retried = tasks.decide(task, command, meta)
    if not retried or task is None:
        return ()
    hold = _hold(command.hold_id, task.id, task.type, command, plan)
    held = _paid(ledger, task.account_id, hold, meta)
    if _is_trial(held):
        retried = tasks.decide(task, replace(command, credits=0, trial=True), meta)
    return (*retried, *held)


def _hold(
    hold_id: UUID, task_id: UUID, task_type: str, asked: SubmitTask | RetryTask, plan: Plan
) -> HoldCredits:
    """What a run of a task asks of its account; the ledger decides whether it is a free trial."""
    return HoldCredits(
        hold_id=hold_id,
        task_id=task_id,
        amount=asked.credits,
        plan=plan,
        may_be_trial=True,
        price_version=asked.price_version,
        task_type=task_type,
    )


def _is_trial(held: tuple[LedgerEvent, ...]) -> bool:
    return any(isinstance(event, CreditsHeld) and event.trial for event in held)


def proceed(
    task: Task | None,
    ledger: CreditLedger | None,
    command: RunCommand,
    meta: Metadata,
    group: Group | None = None,
    plan: Plan | None = None,
) -> tuple[Event, ...]:
    """What happens within a run; if it ends the run, the hold is settled with it.

    `group` is the task's, if it has one: then the run's end is a member's end, lets the next member
    start, and settles the group's hold if it is the last. By `plan`, the account's, its owner is
    told of few credits. Refusals are the task's first, then the ledger's.
    """
    if task is None:
        raise NotFound("There is no such task.")
    meta = _within(task, meta)
    events: list[Event] = []
    for event in tasks.decide(task, command, meta):
        events.append(event)
        if not isinstance(event, Ending):
            continue
        if task.group_id is None:
            events += _settled(task, ledger, event, meta, plan)
        else:
            assert group is not None, "a member's group is loaded with it"
            assert group.id == task.group_id, "a member ends in its own group"
            events += _member_ended(group, ledger, event, meta, plan)
    return tuple(events)


def start_group(
    group: Group | None,
    ledger: CreditLedger | None,
    command: StartGroup,
    plan: Plan,
    meta: Metadata,
) -> tuple[Event, ...]:
    """A group with one hold for all its members, of whom the first are submitted at once.

    None where it is there already. Refusals are the group's first, then the ledger's.
    """
    raised = replace(command, priority=_raised(command.priority, plan))
    return _run_opened(group, ledger, groups.decide(group, raised, meta), plan, meta)


def retry_group(
    group: Group | None,
    ledger: CreditLedger | None,
    command: RetryGroup,
    plan: Plan,
    meta: Metadata,
) -> tuple[Event, ...]:
    """The next run of those that were not delivered, with a new hold for them."""
    return _run_opened(group, ledger, groups.decide(group, command, meta), plan, meta)


def cancel_group(
    group: Group | None,
    ledger: CreditLedger | None,
    at_work: tuple[Task, ...],
    command: CancelGroup,
    meta: Metadata,
    plan: Plan | None = None,
) -> tuple[Event, ...]:
    """Start no more members; cancel those `at_work` (all active ones), or ask them to stop."""
    requested = groups.decide(group, command, meta)
    if not requested or group is None:
        return ()
    events: list[Event] = [*requested]
    group = _evolved(group, requested)
    expected = {member.task_id for member in group.active}
    assert expected == {task.id for task in at_work}, "every member at work is cancelled"
    for task in at_work:
        decided = proceed(task, ledger, CancelTask(reason=command.reason), meta, group, plan)
        group = _evolved(group, decided)
        events += decided
    return tuple(events)


def _run_opened(
    group: Group | None,
    ledger: CreditLedger | None,
    opened: tuple[GroupEvent, ...],
    plan: Plan,
    meta: Metadata,
) -> tuple[Event, ...]:
    """A group's run with its hold and its first tasks."""
    if not opened:
        return ()
    group = _evolved(group, opened)
    hold = HoldCredits(
        hold_id=group.hold_id,
        group_id=group.id,
        amount=group.credits_held,
        plan=plan,
        tasks=len(group.in_run),
        slots=group.slots,
        task_type=_one_type(group),
        price_version=_versions(group.in_run),
    )
    held = _paid(ledger, group.account_id, hold, meta)
    submitted = [event for member in group.active for event in _submitted(group, member, meta)]
    return (*opened, *held, *submitted)


def _one_type(group: Group) -> str | None:
    """The type of all tasks of the run, if it is one."""
    types = {member.type for member in group.in_run}
    return types.pop() if len(types) == 1 else None


def _submitted(group: Group, member: Member, meta: Metadata) -> tuple[TaskEvent, ...]:
    """A member's task, which the group's hold pays for."""
    command = SubmitTask(
        task_id=member.task_id,
        account_id=group.account_id,
        type=member.type,
        input=member.input,
        hold_id=group.hold_id,
        credits=member.credits,
        priority=group.priority,
        attempts_max=member.attempts_max,
        queue_seconds_max=member.queue_seconds_max,
        run_seconds_max=member.run_seconds_max,
        project=group.project,
        group_id=group.id,
        price_version=member.price_version,
    )
    return tasks.decide(None, command, meta)


def _versions(members: Iterable[Member]) -> str | None:
    """What prices the members: one version of the prices, a type's own price, or both."""
    versions = {member.price_version for member in members if member.price_version is not None}
    return ",".join(sorted(versions)) or None


def _member_ended(
    group: Group, ledger: CreditLedger | None, ending: Ending, meta: Metadata, plan: Plan | None
) -> list[Event]:
    """A member's end: the next one's start, or with the last one the group's end and its money."""
    command = EndMember(
        task_id=ending.originator_id,
        outcome=_OUTCOMES[type(ending)],
        charged=ending.charged if isinstance(ending, TaskCompleted) else 0,
    )
    events: list[Event] = []
    for event in groups.decide(group, command, meta):
        events.append(event)
        group = groups.evolve(group, event)
        if isinstance(event, GroupEnd):
            events += _group_settled(group, ledger, event, meta, plan)
        elif isinstance(event, GroupMemberEnded) and event.next_task_id is not None:
            member = group.member(event.next_task_id)
            assert member is not None, "the next member is one of the group"
            events += _submitted(group, member, meta)
    return events


def _settled(
    task: Task, ledger: CreditLedger | None, ending: Ending, meta: Metadata, plan: Plan | None
) -> tuple[LedgerEvent, ...]:
    settling: CaptureHold | ReleaseHold
    if isinstance(ending, TaskCompleted):
        settling = CaptureHold(hold_id=task.hold_id, amount=ending.charged)
    else:
        settling = ReleaseHold(hold_id=task.hold_id, reason=ending.TOPIC)
    return _paid(ledger, task.account_id, settling, meta, plan)


def _group_settled(
    group: Group, ledger: CreditLedger | None, end: GroupEnd, meta: Metadata, plan: Plan | None
) -> tuple[LedgerEvent, ...]:
    """One movement for the whole run: a capture if anything was delivered in it."""
    settling: CaptureHold | ReleaseHold
    if any(member.status == "completed" for member in group.in_run):
        settling = CaptureHold(hold_id=group.hold_id, amount=group.delivered_credits)
    else:
        settling = ReleaseHold(hold_id=group.hold_id, reason=end.TOPIC)
    return _paid(ledger, group.account_id, settling, meta, plan)


def _evolved(group: Group | None, events: tuple[Event, ...]) -> Group:
    """The group after those of the events that are its own."""
    for event in events:
        if isinstance(event, GroupEvent):
            group = groups.evolve(group, event)
    assert group is not None, "a group that has begun"
    return group


def _within(task: Task, meta: Metadata) -> Metadata:
    """What happens to a task is part of what its submission began, and of its trace if of none."""
    return replace(
        meta,
        correlation_id=task.correlation_id or meta.correlation_id,
        trace_id=meta.trace_id or task.trace_id,
    )


def _raised(priority: int, plan: Plan) -> int:
    """A priority lifted by the plan; what is no priority is left as it is.

    Lifted into the range it would be taken for one.
    """
    if priority not in PRIORITIES.values():
        return priority
    return max(0, priority - plan.priority_raise)


def _paid(
    ledger: CreditLedger | None,
    account_id: UUID,
    command: HoldCredits | CaptureHold | ReleaseHold,
    meta: Metadata,
    plan: Plan | None = None,
) -> tuple[LedgerEvent, ...]:
    assert ledger is None or ledger.id == account_id, "a task is paid from its own account"
    return ledgers.decide(ledger, command, meta, plan)


_OUTCOMES: dict[type[Event], Outcome] = {
    TaskCompleted: "completed",
    TaskFailed: "failed",
    TaskCancelled: "cancelled",
}
