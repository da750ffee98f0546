"""Where a task and its money meet: each decision here gives the events of both, for one atomic append."""

from __future__ import annotations

from domain import ledger as ledgers
from domain import task as tasks
from domain.errors import NotFound
from domain.event import Event, Metadata
from domain.ledger import CaptureHold, CreditLedger, HoldCredits, ReleaseHold
from domain.plan import Plan
from domain.task import RetryTask, SubmitTask, Task, TaskCommand
from domain.task_events import TaskCancelled, TaskCompleted, TaskFailed


def submit(
    task: Task | None, ledger: CreditLedger | None, command: SubmitTask, plan: Plan, meta: Metadata
) -> tuple[Event, ...]:
    """A new task with the hold on its credits. Refusals are the ledger's first, then the task's."""
    hold = HoldCredits(
        hold_id=command.hold_id, task_id=command.task_id, amount=command.credits, plan=plan
    )
    held = ledgers.decide(ledger, hold, meta)
    return (*tasks.decide(task, command, meta), *held)


def retry(
    task: Task | None, ledger: CreditLedger | None, command: RetryTask, plan: Plan, meta: Metadata
) -> tuple[Event, ...]:
    """The next run of a failed task, with a new hold; the machine is asked before the ledger."""
    retried = tasks.decide(task, command, meta)
    if not retried or task is None:
        return ()
    hold = HoldCredits(hold_id=command.hold_id, task_id=task.id, amount=command.credits, plan=plan)
    return (*retried, *ledgers.decide(ledger, hold, meta))


def proceed(
    task: Task | None, ledger: CreditLedger | None, command: TaskCommand, meta: Metadata
) -> tuple[Event, ...]:
    """Any other command of a task; if it ends the task, its hold is settled with it."""
    if task is None:
        raise NotFound("There is no such task.")
    events: list[Event] = []
    for event in tasks.decide(task, command, meta):
        events.append(event)
        match event:
            case TaskCompleted(charged=charged):
                capture = CaptureHold(hold_id=task.hold_id, amount=charged)
                events += ledgers.decide(ledger, capture, meta)
            case TaskFailed() | TaskCancelled():
                release = ReleaseHold(hold_id=task.hold_id, reason=event.TOPIC)
                events += ledgers.decide(ledger, release, meta)
    return tuple(events)
