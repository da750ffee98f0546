"""A task and its money are decided together: what ends the one settles the other."""

from __future__ import annotations

from uuid import UUID

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import ledger, metering
from domain.errors import (
    AlreadyExists,
    CaptureExceedsHold,
    DomainError,
    HoldNotFound,
    IllegalTransition,
    InsufficientCredits,
    InvalidInput,
    LeaseLost,
    LimitReached,
    NotFound,
)
from domain.event import Event
from domain.ledger import CreditLedger, OpenAccount
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsReleased
from domain.task import (
    CancelTask,
    CompleteTask,
    ConfirmCancel,
    FailTask,
    ReachStage,
    ReleaseTask,
    RetryTask,
    RunCommand,
    StallTask,
    StartTask,
    SubmitTask,
    Task,
)
from tests.unit.domain.given import (
    BROKEN,
    HOLD_ID,
    NEXT_HOLD_ID,
    PLAN,
    PRICE,
    TASK_ID,
    a_ledger,
    fold_ledger,
    fold_task,
    grant,
    hold,
    metadata,
    submission,
    submitted,
)

META = metadata()
COMPLETE = CompleteTask(token=1, result=Raw(b"{}"))
Books = tuple[Task, CreditLedger]


def play(books: Books, *commands: RunCommand) -> Books:
    task, ledger = books
    for command in commands:
        events = metering.proceed(task, ledger, command, META)
        task = fold_task([e for e in events if e.originator_id == task.id], task)
        ledger = fold_ledger([e for e in events if e.originator_id == ledger.id], ledger)
    return task, ledger


def topics(events: tuple[Event, ...]) -> list[str]:
    return [event.TOPIC for event in events]


def test_a_submission_and_its_hold_are_one_write() -> None:
    events = metering.submit(None, a_ledger(grant(100)), submission(), PLAN, META)
    assert topics(events) == ["task.submitted", "credits.held"]
    held = events[1]
    assert isinstance(held, CreditsHeld)
    assert (held.hold_id, held.task_id, held.amount) == (HOLD_ID, TASK_ID, PRICE)


def test_a_submission_again_writes_nothing() -> None:
    task, ledger = submitted()
    with pytest.raises(AlreadyExists):
        metering.submit(task, ledger, submission(), PLAN, META)


POOR = a_ledger(grant(PRICE - 1))
FULL = a_ledger(grant(100), *(hold(1, number=n) for n in range(1, 4)))
PRECEDENCE: list[tuple[type[DomainError], Task | None, CreditLedger | None, SubmitTask]] = [
    (InvalidInput, submitted()[0], None, submission(priority=9)),
    (AlreadyExists, submitted()[0], None, submission()),
    (NotFound, None, None, submission(price=-1)),
    (InvalidInput, None, FULL, submission(price=-1, hold_id=hold(number=1).hold_id)),
    (AlreadyExists, None, FULL, submission(price=999, hold_id=hold(number=1).hold_id)),
    (LimitReached, None, FULL, submission(price=999)),
    (InsufficientCredits, None, POOR, submission()),
]


@pytest.mark.parametrize(("refusal", "task", "ledger", "command"), PRECEDENCE)
def test_a_submissions_refusals_come_in_their_order(
    refusal: type[DomainError],
    task: Task | None,
    ledger: CreditLedger | None,
    command: SubmitTask,
) -> None:
    with pytest.raises(DomainError) as refused:
        metering.submit(task, ledger, command, PLAN, META)
    assert type(refused.value) is refusal


def test_a_task_is_never_paid_from_another_account() -> None:
    opening = OpenAccount(account_id=UUID(int=66), plan="standard")
    stranger = fold_ledger(ledger.decide(None, opening, META))
    with pytest.raises(AssertionError):
        metering.submit(None, stranger, submission(price=0), PLAN, META)
    task, _ = submitted()
    with pytest.raises(AssertionError):
        metering.proceed(task, stranger, CancelTask(), META)


@pytest.mark.parametrize(("charge", "charged"), [(None, PRICE), (PRICE, PRICE), (4, 4), (0, 0)])
def test_a_result_captures_its_charge_and_releases_the_rest(
    charge: int | None, charged: int
) -> None:
    task, ledger = play(submitted(), StartTask(worker="w"))
    events = metering.proceed(task, ledger, replace(COMPLETE, charge=charge), META)
    assert topics(events) == ["task.completed", "credits.captured"]
    captured = events[1]
    assert isinstance(captured, CreditsCaptured)
    assert (captured.amount, captured.released) == (charged, PRICE - charged)


ENDINGS: list[tuple[str, tuple[RunCommand, ...], RunCommand]] = [
    ("task.failed", (StartTask(worker="w"),), FailTask(token=1, failure=BROKEN)),
    ("task.cancelled", (), CancelTask()),
    ("task.cancelled", (StartTask(worker="w"), CancelTask()), ConfirmCancel(token=1)),
    ("task.cancelled", (StartTask(worker="w"), CancelTask()), StallTask(token=1)),
    ("task.cancelled", (StartTask(worker="w"), CancelTask()), ReleaseTask(token=1)),
]


@pytest.mark.parametrize(("topic", "before", "ending"), ENDINGS)
def test_every_other_ending_releases_the_whole_hold(
    topic: str, before: tuple[RunCommand, ...], ending: RunCommand
) -> None:
    task, ledger = play(submitted(), *before)
    events = metering.proceed(task, ledger, ending, META)
    assert topics(events) == [topic, "credits.released"]
    released = events[1]
    assert isinstance(released, CreditsReleased)
    assert (released.hold_id, released.amount, released.reason) == (HOLD_ID, PRICE, topic)


def test_the_last_stall_releases_the_hold_with_its_failure() -> None:
    funded = a_ledger(grant(100))
    events = metering.submit(None, funded, submission(stalls_max=0), PLAN, META)
    books = fold_task(events[:1]), fold_ledger(events[1:], funded)
    task, ledger = play(books, StartTask(worker="w"))
    events = metering.proceed(task, ledger, StallTask(token=1), META)
    assert topics(events) == ["task.failed", "credits.released"]


@pytest.mark.parametrize(
    "command",
    [
        ReachStage(token=1, stage="upload", percent=40),
        ReleaseTask(token=1),
        StallTask(token=1),
        CancelTask(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_does_not_end_a_run_leaves_the_money_alone(command: RunCommand) -> None:
    task, ledger = play(submitted(), StartTask(worker="w"))
    assert len(metering.proceed(task, ledger, command, META)) == 1
    assert play((task, ledger), command)[1] == ledger


def test_the_same_ending_again_moves_no_money() -> None:
    task, ledger = play(submitted(), StartTask(worker="w"), COMPLETE)
    assert metering.proceed(task, ledger, COMPLETE, META) == ()


def test_a_retry_has_a_hold_of_its_own() -> None:
    task, ledger = play(submitted(), StartTask(worker="w"), FailTask(token=1, failure=BROKEN))
    retry = RetryTask(hold_id=NEXT_HOLD_ID, credits=7)
    events = metering.retry(task, ledger, retry, PLAN, META)
    assert topics(events) == ["task.retried", "credits.held"]
    held = events[1]
    assert isinstance(held, CreditsHeld)
    assert (held.hold_id, held.task_id, held.amount) == (NEXT_HOLD_ID, TASK_ID, 7)
    again = fold_task(events[:1], task), fold_ledger(events[1:], ledger)
    assert metering.retry(*again, retry, PLAN, META) == ()
    done, settled = play(again, StartTask(worker="w"), replace(COMPLETE, token=2))
    assert (done.credits_charged, settled.balance.captured) == (7, 7)


def test_a_retrys_refusals_are_the_tasks_first() -> None:
    retry = RetryTask(hold_id=NEXT_HOLD_ID, credits=999)
    with pytest.raises(NotFound, match="task"):
        metering.retry(None, None, retry, PLAN, META)
    with pytest.raises(IllegalTransition):
        metering.retry(*submitted(), retry, PLAN, META)
    failed = play(submitted(), StartTask(worker="w"), FailTask(token=1, failure=BROKEN))
    with pytest.raises(InsufficientCredits):
        metering.retry(*failed, retry, PLAN, META)
    with pytest.raises(LimitReached):
        metering.retry(*failed, retry, replace(PLAN, daily_tasks_max=1), META)


def test_a_runs_refusals_are_the_tasks_first() -> None:
    with pytest.raises(NotFound, match="task"):
        metering.proceed(None, None, COMPLETE, META)
    task, ledger = play(submitted(), StartTask(worker="w"))
    with pytest.raises(LeaseLost):
        metering.proceed(task, None, replace(COMPLETE, token=9), META)
    with pytest.raises(CaptureExceedsHold):
        metering.proceed(task, None, replace(COMPLETE, charge=PRICE + 1), META)
    with pytest.raises(NotFound, match="account"):
        metering.proceed(task, None, COMPLETE, META)
    with pytest.raises(HoldNotFound):
        metering.proceed(task, a_ledger(), COMPLETE, META)
    assert ledger.holds
