"""Holds of a ledger: made, extended, ended once, and given back after their capture."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from domain.errors import (
    AlreadyExists,
    CaptureExceedsHold,
    HoldNotFound,
    HoldNotYours,
    HoldSettled,
    InsufficientCredits,
    InvalidInput,
    LimitReached,
    RefundExceedsCapture,
)
from domain.event import CREDITS_MAX
from domain.grants import Slices, as_granted, burn, split
from domain.ledger_book import Book, ending_of, guard_slices
from domain.ledger_commands import (
    CaptureHold,
    ExtendHold,
    HoldCredits,
    RefundCapture,
    ReleaseHold,
)
from domain.ledger_events import (
    OVERDRAFT,
    CreditsCaptured,
    CreditsGranted,
    CreditsHeld,
    CreditsRefunded,
    CreditsReleased,
    Grant,
    Hold,
    HoldExpired,
    HoldExtended,
)
from domain.ledger_machines import (
    ACCOUNT,
    ACTIVE_RETRY_SECONDS,
    HOLD,
    HOLDS_MAX,
    REFUND_DAYS_MAX,
    REFUNDS_MAX,
)
from domain.ledger_state import CreditLedger, day_of
from domain.plan import Plan


def held(book: Book, command: HoldCredits) -> None:
    ledger = book.ledger
    ACCOUNT.target("hold", ledger.status)
    if command.amount < 0:
        raise InvalidInput("A hold cannot be negative.", ("/amount", "must be 0 or more"))
    if (hold := ledger.holds.get(command.hold_id)) is not None:
        _guard_same(hold, command)
        return
    _guard_later(command.expires_at, book.meta.at)
    _guard_limits(ledger, command, book.meta.at)
    plan = command.plan
    trial = command.may_be_trial and command.amount > 0 and ledger.balance.trials < plan.trial_tasks
    amount = 0 if trial else command.amount
    _guard_available(ledger, amount, plan)
    # No more than fifteen: with one more, Python makes a dictionary of them, four times as slow.
    book.add(
        CreditsHeld(
            originator_id=book.id,
            originator_version=book.next_version,
            meta=book.meta,
            hold_id=command.hold_id,
            task_id=command.task_id,
            group_id=command.group_id,
            amount=amount,
            slices=guard_slices(ledger, burn(ledger.grants, amount)),
            tasks=command.tasks,
            slots=command.slots,
            trial=trial,
            expires_at=command.expires_at,
            price_version=command.price_version,
            task_type=command.task_type,
            reason=command.reason,
        )
    )


def _guard_same(hold: Hold, command: HoldCredits) -> None:
    asked = (command.task_id, command.group_id, command.amount)
    amount = command.amount if hold.trial else hold.amount
    if (hold.task_id, hold.group_id, amount) != asked:
        raise AlreadyExists("There is a hold of that id already.")


def _guard_later(expires_at: datetime | None, at: datetime) -> None:
    if expires_at is not None and expires_at <= at:
        raise InvalidInput("The hold would be gone at once.", ("/expires_at", "is in the past"))


def _guard_limits(ledger: CreditLedger, command: HoldCredits, at: datetime) -> None:
    plan = command.plan
    if len(ledger.holds) >= HOLDS_MAX:
        raise LimitReached("holds_max", HOLDS_MAX, ACTIVE_RETRY_SECONDS)
    maximum = plan.active_tasks_max
    if ledger.balance.active + command.slots > maximum:
        left = max(0, maximum - ledger.balance.active)
        raise LimitReached("active_tasks_max", maximum, ACTIVE_RETRY_SECONDS, remaining=left)
    day, made = day_of(ledger, at)
    if made + command.tasks > plan.daily_tasks_max:
        tomorrow = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        wait = int((tomorrow - at).total_seconds()) + 1
        left = max(0, plan.daily_tasks_max - made)
        raise LimitReached("daily_tasks_max", plan.daily_tasks_max, wait, remaining=left)


def _guard_available(ledger: CreditLedger, amount: int, plan: Plan) -> None:
    """Credits in effective grants and what may be overdrawn; a hold of nothing needs neither."""
    if amount and amount > ledger.balance.available + plan.overdraft_max:
        raise InsufficientCredits(amount, ledger.balance.available)


def _hold_of(book: Book, command: ExtendHold | CaptureHold | ReleaseHold, trigger: str) -> Hold:
    ledger = book.ledger
    ACCOUNT.target(trigger, ledger.status)
    hold = ledger.holds.get(command.hold_id)
    if hold is None:
        raise _gone(book, command.hold_id)
    HOLD.target(trigger, "held")
    if command.outside and (hold.task_id or hold.group_id):
        raise HoldNotYours(trigger, hold.id)
    return hold


def _gone(book: Book, hold_id: UUID) -> HoldNotFound:
    """An end that is not in the log yet is known here alone."""
    if any(isinstance(e, HoldExpired) and e.hold_id == hold_id for e in book.events):
        return HoldSettled(hold_id, "expired")
    return HoldNotFound(hold_id)


def extended(book: Book, command: ExtendHold) -> None:
    hold = _hold_of(book, command, "extend")
    if not 0 <= command.added <= CREDITS_MAX:
        raise InvalidInput("A hold cannot shrink.", ("/added", "must be 0 or more"))
    _guard_later(command.expires_at, book.meta.at)
    if not command.added and command.expires_at in {None, hold.expires_at}:
        return
    _guard_longer(hold, command.expires_at)
    _guard_available(book.ledger, command.added, command.plan)
    book.write(
        HoldExtended,
        hold_id=hold.id,
        added=command.added,
        slices=guard_slices(book.ledger, burn(book.ledger.grants, command.added), len(hold.slices)),
        expires_at=command.expires_at or hold.expires_at,
        task_type=hold.task_type,
        reason=command.reason,
    )


def _guard_longer(hold: Hold, expires_at: datetime | None) -> None:
    """A hold without an end of its own cannot be extended to one."""
    if expires_at is not None and (hold.expires_at is None or expires_at < hold.expires_at):
        raise InvalidInput("A hold cannot end earlier.", ("/expires_at", "is before its end"))


def captured(book: Book, command: CaptureHold) -> None:
    hold = _hold_of(book, command, "capture")
    amount = hold.amount if command.amount is None else command.amount
    if not 0 <= amount <= hold.amount:
        raise CaptureExceedsHold(amount, hold.amount)
    taken, rest = split(hold.slices, amount)
    book.add(
        CreditsCaptured(
            originator_id=book.id,
            originator_version=book.next_version,
            meta=book.meta,
            hold_id=hold.id,
            task_id=hold.task_id,
            group_id=hold.group_id,
            slots=hold.slots,
            task_type=hold.task_type,
            amount=amount,
            slices=taken,
            released=hold.amount - amount,
            released_slices=rest,
            reason=command.reason,
        )
    )


def released(book: Book, command: ReleaseHold) -> None:
    hold = _hold_of(book, command, "release")
    book.write(
        CreditsReleased,
        **ending_of(hold),
        amount=hold.amount,
        slices=hold.slices,
        trial=hold.trial,
        reason=command.reason,
    )


def refunded(book: Book, command: RefundCapture) -> None:
    ledger, capture = book.ledger, command.capture
    ACCOUNT.target("refund", ledger.status)
    assert capture.originator_id == ledger.id, "a capture is refunded to its own account"
    if command.amount is not None and command.amount < 1:
        raise InvalidInput("A refund needs credits.", ("/amount", "must be 1 or more"))
    if capture.meta.at < book.meta.at - timedelta(days=REFUND_DAYS_MAX):
        sentence = f"was charged more than {REFUND_DAYS_MAX} days ago"
        raise InvalidInput("The charge is too old to be refunded.", ("/hold_id", sentence))
    before = ledger.refunds.get(capture.hold_id)
    done = before.amount if before else 0
    left = capture.amount - done
    state = "captured" if left or not done else "refunded"
    amount = max(1, left) if command.amount is None else command.amount
    HOLD.target("refund", state, _Refunding(refunded=amount == left))
    if amount > left:
        raise RefundExceedsCapture(amount, left)
    if ledger.balance.refunded + amount > CREDITS_MAX:
        sentence = f"would bring all refunds of the account above {CREDITS_MAX}"
        raise InvalidInput("Too many credits would be refunded.", ("/amount", sentence))
    if before is None and len(ledger.refunds) >= REFUNDS_MAX:
        raise LimitReached("refunds_max", REFUNDS_MAX)
    slices = _last_first(capture.slices, done, amount)
    book.write(
        CreditsRefunded,
        hold_id=capture.hold_id,
        task_id=capture.task_id,
        group_id=capture.group_id,
        amount=amount,
        slices=slices,
        captured_at=capture.meta.at,
        reason=command.reason,
        task_type=capture.task_type,
        grants=_spent(ledger, slices, command.grants),
    )


class _Refunding(NamedTuple):
    """What the machine asks of a refund: whether all of the capture is refunded with it."""

    refunded: bool


def _last_first(slices: Slices, done: int, amount: int) -> Slices:
    """`amount` credits of a capture from its end on, past the `done` ones given back before."""
    _, rest = split(reversed(slices), done)
    taken, _ = split(rest, amount)
    return taken


def _spent(
    ledger: CreditLedger, slices: Slices, granted: Mapping[UUID, CreditsGranted]
) -> tuple[Grant, ...]:
    """The grants of the slices that have left the ledger, each once, as they come back.

    Credits of one that was voided go again as they come.
    """
    known = {grant.id for grant in ledger.grants} | {OVERDRAFT}
    missing = dict.fromkeys(piece.grant_id for piece in slices if piece.grant_id not in known)
    return tuple(
        as_granted(granted[grant_id], voided=grant_id in ledger.voided) for grant_id in missing
    )
