"""Bugs to plant between tasks and the credits that pay for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from domain import ledger, ledger_holds, ledger_machines, ledger_settlement, metering
from domain.event import Event
from domain.ledger import CaptureHold, CreditLedger, HoldCredits, RefundCapture, ReleaseHold
from domain.ledger_book import Book
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsReleased, PlanChanged, Slice
from domain.task_events import TaskCompleted
from tests.stateful.ledger_bugs import refund_to_a_spent_grant_lost
from tests.stateful.ledger_patches import change_decider, change_fold
from tests.stateful.ledger_time_bugs import (
    closed_with_holds,
    expired_while_held_stays,
    failed_trial_is_lost,
)

Patch = pytest.MonkeyPatch
HOUR = timedelta(hours=1)


# Free trials


def trial_charged_as_paid(patch: Patch) -> None:
    """The account holds nothing, and the task believes that its price is held."""
    patch.setattr(metering, "_is_trial", lambda _held: False)


def trial_never_used_up(patch: Patch) -> None:
    """A delivered trial comes back as a failed one does."""

    def returned(before: CreditLedger, event: CreditsCaptured, after: CreditLedger) -> CreditLedger:
        trials = after.balance.trials - before.holds[event.hold_id].trial
        return replace(after, balance=replace(after.balance, trials=trials))

    change_fold(patch, CreditsCaptured, returned)


def trial_counted_twice_by_a_retry(patch: Patch) -> None:
    """A failure is written as a charge of nothing."""
    settled = metering._settled

    def charged(task: Any, paying: Any, ending: Any, *more: Any) -> Any:
        if isinstance(ending, TaskCompleted):
            return settled(task, paying, ending, *more)
        command = CaptureHold(hold_id=task.hold_id, amount=0)
        return metering._paid(paying, task.account_id, command, *more)

    patch.setattr(metering, "_settled", charged)


def retry_is_never_a_trial(patch: Patch) -> None:
    change_hold(patch, lambda held: replace(held, may_be_trial=False), of="RetryTask")


def group_on_a_trial(patch: Patch) -> None:
    """All its members for nothing, and each is charged for as it is delivered."""
    held_by = metering._paid

    def paid(paying: Any, account_id: Any, command: Any, *more: Any) -> Any:
        if isinstance(command, HoldCredits) and command.group_id is not None:
            command = replace(command, may_be_trial=True)
        return held_by(paying, account_id, command, *more)

    patch.setattr(metering, "_paid", paid)


# Overdraft


def overdraft_not_counted_in_what_is_available(patch: Patch) -> None:
    """Each task may overdraw the account anew."""
    guard = ledger_holds._guard_available

    def lenient(state: CreditLedger, amount: int, plan: Any) -> None:
        available = max(0, state.balance.available)
        guard(replace(state, balance=replace(state.balance, available=available)), amount, plan)

    patch.setattr(ledger_holds, "_guard_available", lenient)


def overdraft_of_a_failed_task_is_owed(patch: Patch) -> None:
    change_fold(
        patch,
        CreditsReleased,
        lambda before, _, after: replace(after, overdrawn=before.overdrawn),
    )


# Grants that end while a task is at work


def submitted_on_expired_credits(patch: Patch) -> None:
    """What is due is entered after the hold alone."""
    once = ledger_settlement.settle_due

    def late(book: Book, *given: Any) -> None:
        if book.events:
            once(book, *given)

    patch.setattr(ledger, "settle_due", late)


def hold_ends_with_its_grant(patch: Patch) -> None:
    """A task at work loses its credits when the grant that they came from expires."""

    def held(book: Book, command: HoldCredits) -> None:
        ledger_holds.held(book, command)
        event = book.events[-1] if book.events else None
        if command.task_id is None or not isinstance(event, CreditsHeld):
            return
        used = {piece.grant_id for piece in event.slices}
        ends = [g.expires_at for g in book.ledger.grants if g.id in used and g.expires_at]
        if ends:
            book.events[-1] = replace(event, expires_at=min(ends))

    change_decider(patch, HoldCredits, held)


def refund_after_expiry_to_another_grant(patch: Patch) -> None:
    """What would be gone at once goes to credits that last."""

    def refunded(book: Book, command: RefundCapture) -> None:
        kept = [g for g in book.ledger.grants if g.expires_at is None and not g.pending]
        if kept:
            slices = (Slice(kept[0].id, command.capture.amount),)
            command = replace(command, capture=replace(command.capture, slices=slices))
        ledger_holds.refunded(book, command)

    change_decider(patch, RefundCapture, refunded)


# The account while its tasks are at work


def frozen_account_stops_its_tasks(patch: Patch) -> None:
    """Their results are refused, and their credits stay held."""
    change_account(
        patch, lambda table: {k: v for k, v in table.items() if k != ("capture", "frozen")}
    )


def frozen_account_takes_retries(patch: Patch) -> None:
    opened = ("hold", "open")
    change_account(patch, lambda table: {**table, ("hold", "frozen"): table[opened]})


def plan_change_keeps_the_plan(patch: Patch) -> None:
    change_fold(
        patch,
        PlanChanged,
        lambda before, _, after: replace(
            after, balance=replace(after.balance, plan=before.balance.plan)
        ),
    )


# Who settles, and what


def part_charged_as_the_whole(patch: Patch) -> None:
    """The account pays all of the hold, the task says a part."""
    settled = metering._settled

    def charged(task: Any, paying: Any, ending: Any, *more: Any) -> Any:
        if isinstance(ending, TaskCompleted):
            ending = replace(ending, charged=task.credits_held)
        return settled(task, paying, ending, *more)

    patch.setattr(metering, "_settled", charged)


def outsider_settles_a_tasks_hold(patch: Patch) -> None:
    def released(book: Book, command: ReleaseHold) -> None:
        ledger_holds.released(book, replace(command, outside=False))

    change_decider(patch, ReleaseHold, released)


def settled_without_what_was_due(patch: Patch) -> None:
    """What a task's end gives back to a grant that is gone stays there, to be spent."""
    once = ledger.decide

    def forgetful(state: Any, command: Any, *given: Any) -> tuple[Event, ...]:
        events = once(state, command, *given)
        if not isinstance(command, CaptureHold | ReleaseHold):
            return events
        ends = [n for n, e in enumerate(events) if getattr(e, "hold_id", None) == command.hold_id]
        return tuple(events[: ends[-1] + 1]) if ends else tuple(events)

    patch.setattr(ledger, "decide", forgetful)


COUPLING_BUGS: list[Callable[[Patch], None]] = [
    trial_charged_as_paid,
    trial_never_used_up,
    trial_counted_twice_by_a_retry,
    retry_is_never_a_trial,
    group_on_a_trial,
    failed_trial_is_lost,
    overdraft_not_counted_in_what_is_available,
    overdraft_of_a_failed_task_is_owed,
    submitted_on_expired_credits,
    hold_ends_with_its_grant,
    settled_without_what_was_due,
    expired_while_held_stays,
    refund_after_expiry_to_another_grant,
    refund_to_a_spent_grant_lost,
    frozen_account_stops_its_tasks,
    frozen_account_takes_retries,
    closed_with_holds,
    plan_change_keeps_the_plan,
    part_charged_as_the_whole,
    outsider_settles_a_tasks_hold,
]


def change_account(
    patch: Patch, change: Callable[[dict[tuple[str, str], Any]], dict[tuple[str, str], Any]]
) -> None:
    """The table of the account's machine."""
    account = ledger_machines.ACCOUNT
    patch.setattr(account, "table", change(dict(account.table)))


def change_hold(patch: Patch, change: Callable[[HoldCredits], HoldCredits], *, of: str) -> None:
    """What a run of a task asks of its account."""
    hold = metering._hold

    def changed(hold_id: Any, task_id: Any, type_: Any, asked: Any, plan: Any) -> HoldCredits:
        made = hold(hold_id, task_id, type_, asked, plan)
        return change(made) if type(asked).__name__ == of else made

    patch.setattr(metering, "_hold", changed)
