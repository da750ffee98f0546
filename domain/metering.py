"""Where a task and its money meet: each decision gives the events of both, for one append."""

from __future__ import annotations

from uuid import UUID

from msgspec.structs import replace

from domain import ledger as ledgers
from domain import task as tasks
from domain.errors import NotFound
from domain.event import Event, Metadata
from domain.ledger import CaptureHold, CreditLedger, HoldCredits, ReleaseHold
from domain.ledger_events import LedgerEvent
from domain.plan import Plan
from domain.task import PRIORITIES, RetryTask, RunCommand, SubmitTask, Task
from domain.task_events import TaskCancelled, TaskCompleted, TaskFailed


def submit(
    task: Task | None, ledger: CreditLedger | None, command: SubmitTask, plan: Plan, meta: Metadata
) -> tuple[Event, ...]:
    """A new task with the hold on its credits. Refusals are the task's first, then the ledger's."""
    submitted = tasks.decide(task, _raised(command, plan), meta)
    hold = HoldCredits(
        hold_id=command.hold_id, task_id=command.task_id, amount=command.credits, plan=plan
    )
    return (*submitted, *_paid(ledger, command.account_id, hold, meta))


def retry(
    task: Task | None, ledger: CreditLedger | None, command: RetryTask, plan: Plan, meta: Metadata
) -> tuple[Event, ...]:
    """The next run of a failed task, with a new hold. Refusals are the task's first."""
    retried = tasks.decide(task, command, meta)
    if not retried or task is None:
        return ()
    hold = HoldCredits(hold_id=command.hold_id, task_id=task.id, amount=command.credits, plan=plan)
    return (*retried, *_paid(ledger, task.account_id, hold, meta))


def proceed(
    task: Task | None, ledger: CreditLedger | None, command: RunCommand, meta: Metadata
) -> tuple[Event, ...]:
    """What happens within a run; if it ends the run, the hold is settled with it.

    Refusals are the task's first, then the ledger's.
    """
    if task is None:
        raise NotFound("There is no such task.")
    meta = _within(task, meta)
    events: list[Event] = []
    for event in tasks.decide(task, command, meta):
        events.append(event)
        match event:
            case TaskCompleted(charged=charged):
                capture = CaptureHold(hold_id=task.hold_id, amount=charged)
                events += _paid(ledger, task.account_id, capture, meta)
            case TaskFailed() | TaskCancelled():
                release = ReleaseHold(hold_id=task.hold_id, reason=event.TOPIC)
                events += _paid(ledger, task.account_id, release, meta)
    return tuple(events)


def _within(task: Task, meta: Metadata) -> Metadata:
    """What happens to a task is part of what its submission began, and of its trace if of none."""
    return replace(
        meta,
        correlation_id=task.correlation_id or meta.correlation_id,
        trace_id=meta.trace_id or task.trace_id,
    )


def _raised(command: SubmitTask, plan: Plan) -> SubmitTask:
    """The command with its priority lifted by the plan; one that is no priority is left as it is.

    Lifted into the range it would be taken for one.
    """
    if command.priority not in PRIORITIES.values():
        return command
    return replace(command, priority=max(0, command.priority - plan.priority_raise))


def _paid(
    ledger: CreditLedger | None,
    account_id: UUID,
    command: HoldCredits | CaptureHold | ReleaseHold,
    meta: Metadata,
) -> tuple[LedgerEvent, ...]:
    assert ledger is None or ledger.id == account_id, "a task is paid from its own account"
    return ledgers.decide(ledger, command, meta)
