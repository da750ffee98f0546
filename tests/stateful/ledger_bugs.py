"""Bugs to plant in overdrafts, holds and refunds: each won or lost credits somewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from domain import (
    grants,
    ledger,
    ledger_book,
    ledger_grants,
    ledger_holds,
    ledger_settlement,
    ledger_state,
)
from domain.ledger import CaptureHold, CreditLedger, RefundCapture
from domain.ledger_book import Book
from domain.ledger_events import (
    CreditsCaptured,
    CreditsExpired,
    CreditsRefunded,
    CreditsVoided,
    HoldExpired,
    HoldExtended,
    Refunded,
    Slice,
)
from tests.stateful.ledger_patches import (
    change_decider,
    change_fields,
    change_fold,
    change_plan,
    settle,
)
from tests.stateful.ledger_time_bugs import TIME_BUGS

Patch = pytest.MonkeyPatch
MOMENT = timedelta(microseconds=1)


# Overdraft


def overdraft_ignored(patch: Patch) -> None:
    patch.setattr(ledger_holds, "_guard_available", lambda _ledger, _amount, _plan: None)


def overdraft_one_too_much(patch: Patch) -> None:
    change_plan(patch, lambda plan: replace(plan, overdraft_max=plan.overdraft_max + 1))


def overdraft_one_too_little(patch: Patch) -> None:
    """Only where there is one."""
    change_plan(patch, lambda plan: replace(plan, overdraft_max=max(0, plan.overdraft_max - 1)))


def debts_not_paid_by_what_goes(patch: Patch) -> None:
    patch.setattr(ledger_settlement, "gone_of", lambda _, amount: {"amount": amount, "repaid": 0})


def debts_paid_without_an_entry(patch: Patch) -> None:
    change_fold(
        patch, CreditsExpired, lambda before, _, after: replace(after, overdrawn=before.overdrawn)
    )


def overdraft_kept_by_a_release(patch: Patch) -> None:
    def forgetful(before: CreditLedger, event: Any, after: CreditLedger) -> CreditLedger:
        return replace(after, overdrawn=before.overdrawn)

    change_fold(patch, HoldExpired, forgetful)
    change_fold(patch, CreditsCaptured, forgetful)


def adjusted_below_nothing(patch: Patch) -> None:
    adjusted = ledger_grants.adjusted

    def hasty(book: Book, command: ledger.AdjustCredits) -> None:
        if command.amount >= 0 or command.source_ref in book.ledger.source_refs:
            adjusted(book, command)
            return
        book.write(
            CreditsVoided,
            amount=-command.amount,
            slices=grants.burn(book.ledger.grants, -command.amount),
            source_ref=command.source_ref,
            reason=command.reason,
        )

    change_decider(patch, ledger.AdjustCredits, hasty)


# Holds


def captured_again(patch: Patch) -> None:
    """A hold that was captured can be captured once more."""

    def again(book: Book, command: CaptureHold) -> None:
        ledger_holds.captured(book, command)
        event = book.events[-1]
        assert isinstance(event, CreditsCaptured)
        fields = {name: getattr(event, name) for name in CAPTURE_FIELDS}
        book.write(CreditsCaptured, **fields)

    change_decider(patch, CaptureHold, again)


CAPTURE_FIELDS = [
    *("hold_id", "amount", "task_id", "slices", "released", "released_slices"),
    *("group_id", "slots"),
]


def capture_above_the_hold(patch: Patch) -> None:
    """By one, out of the first grant."""

    def generous(book: Book, command: CaptureHold) -> None:
        hold = book.ledger.holds.get(command.hold_id)
        if hold is None or command.amount != hold.amount + 1 or not hold.slices:
            ledger_holds.captured(book, command)
            return
        first, *others = hold.slices
        more = Slice(first.grant_id, first.amount + 1)
        book.write(
            CreditsCaptured,
            **ledger_book.ending_of(hold),
            amount=command.amount,
            slices=(more, *others),
        )

    change_decider(patch, CaptureHold, generous)


def expired_hold_not_returned(patch: Patch) -> None:
    change_fold(patch, HoldExpired, lambda before, _, after: replace(after, grants=before.grants))


def hold_expires_a_moment_late(patch: Patch) -> None:
    settle(patch, lambda at: at - MOMENT)


def due_a_moment_early(patch: Patch) -> None:
    settle(patch, lambda at: at + MOMENT)


def extension_not_in_the_hold(patch: Patch) -> None:
    extended = ledger_state._extended

    def lossy(before: CreditLedger, event: Any) -> Any:
        fields = extended(before, event)
        kept = before.holds[event.hold_id]
        fields["holds"] = before.holds.set(
            kept.id,
            replace(kept, expires_at=event.expires_at, slices=fields["holds"][kept.id].slices),
        )
        return fields

    change_fields(patch, HoldExtended, lossy)


def extension_keeps_the_old_end(patch: Patch) -> None:
    extended = ledger_state._extended

    def forgetful(before: CreditLedger, event: Any) -> Any:
        return extended(before, event) | {"expiring": before.expiring}

    change_fields(patch, HoldExtended, forgetful)


def hold_shortened(patch: Patch) -> None:
    patch.setattr(ledger_holds, "_guard_longer", lambda _hold, _expires_at: None)


# Refunds


def refunded_twice(patch: Patch) -> None:
    """What was given back before is not known."""
    change_fold(
        patch, CreditsRefunded, lambda before, _, after: replace(after, refunds=before.refunds)
    )


def refund_forgets_the_parts_before(patch: Patch) -> None:
    patch.setattr(
        ledger_state,
        "_refund",
        lambda _, event: Refunded(
            hold_id=event.hold_id, amount=event.amount, captured_at=event.captured_at
        ),
    )


def refund_first_slices_first(patch: Patch) -> None:
    patch.setattr(
        ledger_holds,
        "_last_first",
        lambda slices, done, amount: grants.split(grants.split(slices, done)[1], amount)[0],
    )


def refund_always_the_same_slices(patch: Patch) -> None:
    last_first = ledger_holds._last_first
    patch.setattr(
        ledger_holds, "_last_first", lambda slices, _, amount: last_first(slices, 0, amount)
    )


def refund_to_the_grant_that_burns_first(patch: Patch) -> None:
    def wrong(book: Book, command: RefundCapture) -> None:
        first = next(iter(book.ledger.grants), None)
        capture = command.capture
        if first is not None and not first.pending and capture.slices:
            pieces = (Slice(first.id, sum(piece.amount for piece in capture.slices)),)
            command = replace(command, capture=replace(capture, slices=pieces))
        ledger_holds.refunded(book, command)

    change_decider(patch, RefundCapture, wrong)


def refund_to_a_spent_grant_lost(patch: Patch) -> None:
    patch.setattr(ledger_holds, "_spent", lambda *_: ())


def refund_brings_a_grant_back_twice(patch: Patch) -> None:
    """As when it has two slices of the capture."""
    spent = ledger_holds._spent
    patch.setattr(ledger_holds, "_spent", lambda *given: (*spent(*given), *spent(*given)))
    refunded = ledger_state._refunded

    def doubled(before: CreditLedger, event: CreditsRefunded) -> Any:
        fields = refunded(before, replace(event, grants=()))
        back = grants.in_burn_order((*before.grants, *event.grants))
        return fields | {"grants": grants.moved(back, event.slices, free=1, held=0)}

    change_fields(patch, CreditsRefunded, doubled)


def refund_makes_gone_credits_last(patch: Patch) -> None:
    """They come back as if they had no end."""
    granted = grants.as_granted
    patch.setattr(
        ledger_holds,
        "as_granted",
        lambda event, *, voided: replace(granted(event, voided=voided), expires_at=None),
    )


def refund_unvoids(patch: Patch) -> None:
    granted = grants.as_granted
    patch.setattr(ledger_holds, "as_granted", lambda event, **_: granted(event, voided=False))


def refund_however_old(patch: Patch) -> None:
    patch.setattr(ledger_holds, "REFUND_DAYS_MAX", 10_000)


def refund_a_day_less(patch: Patch) -> None:
    patch.setattr(ledger_holds, "REFUND_DAYS_MAX", 399)


LEDGER_BUGS: list[Callable[[Patch], None]] = [
    overdraft_ignored,
    overdraft_one_too_much,
    overdraft_one_too_little,
    debts_not_paid_by_what_goes,
    debts_paid_without_an_entry,
    overdraft_kept_by_a_release,
    adjusted_below_nothing,
    captured_again,
    capture_above_the_hold,
    expired_hold_not_returned,
    hold_expires_a_moment_late,
    due_a_moment_early,
    extension_not_in_the_hold,
    extension_keeps_the_old_end,
    hold_shortened,
    refunded_twice,
    refund_forgets_the_parts_before,
    refund_first_slices_first,
    refund_always_the_same_slices,
    refund_to_the_grant_that_burns_first,
    refund_to_a_spent_grant_lost,
    refund_brings_a_grant_back_twice,
    refund_makes_gone_credits_last,
    refund_unvoids,
    refund_however_old,
    refund_a_day_less,
    *TIME_BUGS,
]
