"""What has happened before a test begins: folded from commands, so that no state is made up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from msgspec import Raw

from domain import ledger, metering, pause, task
from domain.event import Event, Metadata
from domain.failure import Failure, failure
from domain.ledger import CreditLedger, GrantCredits, HoldCredits, LedgerCommand, OpenAccount
from domain.ledger_events import GrantKind
from domain.pause import Pause, PauseCommand, PauseQueue, ResumeQueue
from domain.plan import Plan
from domain.task import (
    CancelTask,
    CompleteTask,
    ConfirmCancel,
    FailTask,
    RetryTask,
    StallTask,
    StartTask,
    SubmitTask,
    Task,
    TaskCommand,
)

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
PLAN = Plan(name="small", active_tasks_max=3, daily_tasks_max=5)
ROOMY = Plan(name="roomy", active_tasks_max=1_000, daily_tasks_max=1_000)
ACCOUNT_ID = UUID(int=1)
TASK_ID = UUID(int=2)
HOLD_ID = UUID(int=3)
NEXT_HOLD_ID = UUID(int=4)
ORIGIN_ID = UUID(int=5)
PRICE = 10
DAY_SECONDS = 86_400
BROKEN: Failure = failure("model_error")
FLAKY: Failure = failure("network")


def metadata(at: datetime = NOON) -> Metadata:
    return Metadata(at=at, actor="tester", correlation_id=UUID(int=100), causation_id=UUID(int=101))


def fold_task(events: Iterable[Event], state: Task | None = None) -> Task:
    for event in events:
        state = task.evolve(state, event)
    assert state is not None
    return state


def fold_ledger(events: Iterable[Event], state: CreditLedger | None = None) -> CreditLedger:
    for event in events:
        state = ledger.evolve(state, event)
    assert state is not None
    return state


def submission(
    *,
    task_id: UUID = TASK_ID,
    hold_id: UUID = HOLD_ID,
    price: int = PRICE,
    priority: int = 2,
    not_before: datetime | None = None,
    **limits: int,
) -> SubmitTask:
    """`limits` by their field's name; a day for a run, as tests let minutes pass."""
    command = SubmitTask(
        task_id=task_id,
        account_id=ACCOUNT_ID,
        type="media_extraction",
        input=Raw(b'{"url":"https://example.org/a.mp4"}'),
        hold_id=hold_id,
        credits=price,
        priority=priority,
        project="films",
        not_before=not_before,
        run_seconds_max=DAY_SECONDS,
    )
    return msgspec.structs.replace(command, **limits)


def a_task(*commands: TaskCommand, submit: SubmitTask | None = None) -> Task:
    """A submitted task after these commands, a minute apart."""
    state: Task | None = None
    for minute, command in enumerate((submit or submission(), *commands)):
        meta = metadata(NOON + timedelta(minutes=minute))
        state = fold_task(task.decide(state, command, meta), state)
    assert state is not None
    return state


PATHS: dict[str, tuple[TaskCommand, ...]] = {
    "queued": (),
    "running": (StartTask(worker="w"),),
    "backoff": (StartTask(worker="w"), FailTask(token=1, failure=FLAKY)),
    "cancelling": (StartTask(worker="w"), CancelTask(reason="changed my mind")),
    "completed": (StartTask(worker="w"), CompleteTask(token=1, result=Raw(b"{}"))),
    "failed": (StartTask(worker="w"), FailTask(token=1, failure=BROKEN)),
    "cancelled": (StartTask(worker="w"), CancelTask(), ConfirmCancel(token=1)),
}
"""Commands that bring a new task to each state; all but `queued` have token 1."""


def task_in(status: str, *, stalls_max: int = 3, attempts_max: int = 3) -> Task:
    submit = submission(stalls_max=stalls_max, attempts_max=attempts_max)
    return a_task(*PATHS[status], submit=submit)


def retried_task() -> Task:
    """A task in its second run, queued."""
    return a_task(*PATHS["failed"], RetryTask(hold_id=NEXT_HOLD_ID, credits=PRICE))


def stalled_task(times: int, *, stalls_max: int) -> Task:
    """A running task whose leases lapsed so many times."""
    commands: list[TaskCommand] = [StartTask(worker="w")]
    for token in range(1, times + 1):
        commands += [StallTask(token=token), StartTask(worker="w")]
    return a_task(*commands, submit=submission(stalls_max=stalls_max))


def grant(
    amount: int,
    *,
    number: int = 1,
    kind: GrantKind = "paid",
    priority: int = 100,
    source_ref: str | None = None,
) -> GrantCredits:
    return GrantCredits(
        grant_id=UUID(int=1000 + number),
        kind=kind,
        amount=amount,
        source_ref=source_ref or f"payment {number}",
        priority=priority,
    )


def hold(
    amount: int = PRICE, *, number: int = 0, plan: Plan = ROOMY, task_id: UUID | None = None
) -> HoldCredits:
    """A hold for a task of its own; number 0 is the one of `submission()`."""
    return HoldCredits(
        hold_id=UUID(int=HOLD_ID.int + 10 * number),
        task_id=task_id or UUID(int=TASK_ID.int + 10 * number),
        amount=amount,
        plan=plan,
    )


OPENING = OpenAccount(account_id=ACCOUNT_ID, plan="standard", name="Ada")


def a_ledger(*commands: LedgerCommand, at: datetime = NOON) -> CreditLedger:
    """An open account after these commands."""
    return after(None, OPENING, *commands, at=at)


def after(
    state: CreditLedger | None, *commands: LedgerCommand, at: datetime = NOON
) -> CreditLedger:
    for command in commands:
        state = fold_ledger(ledger.decide(state, command, metadata(at)), state)
    assert state is not None
    return state


def submitted(credits_granted: int = 100) -> tuple[Task, CreditLedger]:
    """A task and the account that pays for it, after one submission."""
    funded = a_ledger(grant(credits_granted))
    events = metering.submit(None, funded, submission(), PLAN, metadata())
    return fold_task(events[:1]), fold_ledger(events[1:], funded)


def a_pause(status: str) -> Pause:
    """The gate of the type "image": paused, and if it is to be open, resumed."""
    state: Pause | None = None
    commands: list[PauseCommand] = [PauseQueue(kind="type", name="image", reason="maintenance")]
    if status == "open":
        commands.append(ResumeQueue(kind="type", name="image", reason="done"))
    for command in commands:
        for event in pause.decide(state, command, metadata()):
            state = pause.evolve(state, event)
    assert state is not None
    return state
