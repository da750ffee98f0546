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
    ExpireTask,
    FailTask,
    ReachStage,
    ReleaseTask,
    RetryTask,
    ReuseResult,
    RunCommand,
    StallTask,
    StartTask,
    SubmitTask,
    Task,
)
from tests.unit.domain.given import (
    BROKEN,
    FLAKY,
    HOLD_ID,
    NEXT_HOLD_ID,
    ORIGIN_ID,
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
TRIED = FailTask(token=1, failure=FLAKY)
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
    (InvalidInput, submitted()[0], None, submission(priority=4)),
    (InvalidInput, submitted()[0], None, submission(priority=-1)),
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


RAISES = [(0, 0, 0), (0, 3, 3), (1, 2, 1), (1, 1, 0), (1, 0, 0), (3, 3, 0), (3, 2, 0)]


@pytest.mark.parametrize(("levels", "asked", "given"), RAISES)
def test_a_plan_raises_the_priority_up_to_the_highest(levels: int, asked: int, given: int) -> None:
    plan = replace(PLAN, priority_raise=levels)
    events = metering.submit(None, a_ledger(grant(100)), submission(priority=asked), plan, META)
    assert fold_task(events[:1]).priority == given


@pytest.mark.parametrize("levels", range(4))
@pytest.mark.parametrize("priority", [-2, -1, 4, 5, 7])
def test_no_plan_raises_what_is_no_priority_into_one(priority: int, levels: int) -> None:
    plan = replace(PLAN, priority_raise=levels)
    with pytest.raises(InvalidInput, match="priority"):
        metering.submit(None, a_ledger(grant(100)), submission(priority=priority), plan, META)


def test_a_retry_keeps_the_priority_that_its_submission_got() -> None:
    plan = replace(PLAN, priority_raise=1)
    funded = a_ledger(grant(100))
    events = metering.submit(None, funded, submission(priority=2), plan, META)
    books = fold_task(events[:1]), fold_ledger(events[1:], funded)
    task, ledger = play(books, StartTask(worker="w"), FailTask(token=1, failure=BROKEN))
    retry = RetryTask(hold_id=NEXT_HOLD_ID, credits=PRICE)
    assert fold_task(metering.retry(task, ledger, retry, plan, META)[:1], task).priority == 1


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
    (
        "task.failed",
        (StartTask(worker="w"), TRIED, StartTask(worker="w")),
        FailTask(token=2, failure=BROKEN),
    ),
    ("task.cancelled", (), CancelTask()),
    ("task.cancelled", (StartTask(worker="w"), TRIED), CancelTask()),
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
        TRIED,
        CancelTask(),
        ExpireTask(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_does_not_end_a_run_leaves_the_money_alone(command: RunCommand) -> None:
    task, ledger = play(submitted(), StartTask(worker="w"))
    early = isinstance(command, ExpireTask)
    assert len(metering.proceed(task, ledger, command, META)) == (0 if early else 1)
    assert play((task, ledger), command)[1] == ledger


@pytest.mark.parametrize(
    ("before", "topic"),
    [
        ((), "task.failed"),
        ((StartTask(worker="w"),), "task.failed"),
        ((StartTask(worker="w"), TRIED), "task.failed"),
        ((StartTask(worker="w"), ReleaseTask(token=1)), "task.failed"),
        ((StartTask(worker="w"), CancelTask()), "task.cancelled"),
    ],
)
def test_a_run_past_its_deadline_is_refunded_once(
    before: tuple[RunCommand, ...], topic: str
) -> None:
    task, ledger = play(submitted(), *before)
    late = metadata(task.deadline_at)
    events = metering.proceed(task, ledger, ExpireTask(), late)
    assert topics(events) == [topic, "credits.released"]
    over, refunded = fold_task(events[:1], task), fold_ledger(events[1:], ledger)
    assert (refunded.balance.available, refunded.balance.held) == (100, 0)
    assert metering.proceed(over, refunded, ExpireTask(), late) == ()
    if over.token:
        with pytest.raises(IllegalTransition):
            metering.proceed(over, refunded, COMPLETE, late)


def test_all_attempts_of_a_run_are_paid_by_one_hold() -> None:
    second = replace(TRIED, token=2)
    task, ledger = play(
        submitted(), StartTask(worker="w"), TRIED, StartTask(worker="w"), second,
        StartTask(worker="w"),
    )  # fmt: skip
    assert [hold.amount for hold in ledger.holds.values()] == [PRICE]
    done, settled = play((task, ledger), replace(COMPLETE, token=3))
    assert (done.credits_charged, settled.balance.captured) == (PRICE, PRICE)
    over, refunded = play((task, ledger), replace(TRIED, token=3))
    assert (over.status, over.credits_released) == ("failed", PRICE)
    assert (refunded.balance.available, len(refunded.holds)) == (100, 0)


def test_no_result_is_taken_while_the_next_attempt_is_awaited() -> None:
    task, ledger = play(submitted(), StartTask(worker="w"), TRIED)
    with pytest.raises(LeaseLost):
        metering.proceed(task, ledger, COMPLETE, META)


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


REUSE = ReuseResult(origin_id=ORIGIN_ID, result=Raw(b'{"n":1}'))


def test_a_reused_result_is_submitted_completed_and_charged_at_once() -> None:
    funded = a_ledger(grant(100))
    events = metering.submit(None, funded, submission(), PLAN, META, reuse=REUSE)
    assert [event.TOPIC for event in events] == [
        "task.submitted", "credits.held", "task.completed", "credits.captured",
    ]  # fmt: skip
    task = fold_task([events[0], events[2]])
    assert (task.status, task.attempt, task.result) == ("completed", 0, REUSE.result)
    assert (task.reused_from, task.started_at, task.ended_at) == (ORIGIN_ID, None, META.at)
    assert (task.credits_held, task.credits_charged) == (0, PRICE)
    account = fold_ledger([events[1], events[3]], funded)
    assert (account.balance.available, account.balance.captured) == (100 - PRICE, PRICE)
    assert not account.holds


def test_a_reused_result_is_not_had_without_credits_or_room() -> None:
    with pytest.raises(InsufficientCredits):
        metering.submit(None, a_ledger(grant(PRICE - 1)), submission(), PLAN, META, reuse=REUSE)
    full = a_ledger(grant(100), *(hold(1, number=n) for n in range(1, PLAN.active_tasks_max + 1)))
    with pytest.raises(LimitReached):
        metering.submit(None, full, submission(), PLAN, META, reuse=REUSE)


def test_a_reused_result_that_costs_nothing_is_had_without_credits() -> None:
    events = metering.submit(None, a_ledger(), submission(price=0), PLAN, META, reuse=REUSE)
    assert fold_task([events[0], events[2]]).status == "completed"


def test_a_queued_task_can_still_take_over_a_result() -> None:
    task, paying = submitted()
    events = metering.proceed(task, paying, REUSE, META)
    task = fold_task(events[:1], task)
    assert (task.status, task.credits_charged) == ("completed", PRICE)
    again = metering.proceed(task, fold_ledger(events[1:], paying), REUSE, META)
    assert again == ()
