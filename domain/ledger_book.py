"""A decision on a ledger as it is being written: event by event, with what time has brought."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain.event import Metadata
from domain.grants import due_at
from domain.ledger_events import (
    CreditsExhausted,
    CreditsExpired,
    CreditsLow,
    CreditsMatured,
    CreditsVoided,
    Grant,
    Hold,
    HoldExpired,
    LedgerEvent,
    Slice,
)
from domain.ledger_machines import HOLD
from domain.ledger_state import CreditLedger, evolve
from domain.plan import Plan


class Book:
    """Events one after the other, each written on the state that those before it leave."""

    __slots__ = ("_ledger", "_pending", "events", "meta")

    def __init__(self, ledger: CreditLedger, meta: Metadata) -> None:
        self._ledger = ledger
        self._pending: list[LedgerEvent] = []
        self.events: list[LedgerEvent] = []
        self.meta = meta

    @property
    def ledger(self) -> CreditLedger:
        """The state after the events so far, folded only when it is asked for."""
        for event in self._pending:
            self._ledger = evolve(self._ledger, event)
        self._pending.clear()
        return self._ledger

    def write(self, event_type: Callable[..., LedgerEvent], **fields: object) -> None:
        ledger = self.ledger
        event = event_type(
            originator_id=ledger.id,
            originator_version=ledger.version + 1,
            meta=self.meta,
            **fields,
        )
        self._pending.append(event)
        self.events.append(event)


def settle_due(book: Book) -> None:
    """Mature and expire what is due; what comes back to a grant that is gone goes after it.

    Moment by moment, so that it comes to the same whether it is done in time or late.
    """
    while (moment := book.ledger.due_at) is not None and moment <= book.meta.at:
        ledger = book.ledger
        for grant in ledger.grants:
            if (grant_due := due_at(grant)) is not None and grant_due <= moment:
                _settle_grant(book, grant)
        for hold_id, expires_at in ledger.expiring.items():
            if expires_at <= moment:
                _expire_hold(book, ledger.holds[hold_id])


def _settle_grant(book: Book, grant: Grant) -> None:
    if grant.pending and not grant.voided:
        book.write(CreditsMatured, grant_id=grant.id, amount=grant.remaining)
        return
    gone = gone_of(book.ledger, grant.remaining)
    slices = (Slice(grant.id, grant.remaining),)
    if grant.voided:
        book.write(CreditsVoided, **gone, slices=slices, grant_id=grant.id, reason="voided before")
    else:
        book.write(CreditsExpired, **gone, slices=slices)


def gone_of(ledger: CreditLedger, amount: int) -> dict[str, int]:
    """What of credits that go pays a debt, and what is lost."""
    repaid = max(0, min(amount, ledger.overdrawn))
    return {"amount": amount - repaid, "repaid": repaid}


def _expire_hold(book: Book, hold: Hold) -> None:
    HOLD.target("expire", "held")
    book.write(
        HoldExpired, **ending_of(hold), amount=hold.amount, slices=hold.slices, trial=hold.trial
    )


def tell_owner(book: Book, plan: Plan) -> None:
    if plan.low_credits is None:
        return
    ledger = book.ledger
    available = ledger.balance.available
    if available < plan.low_credits and ledger.told_at is None:
        book.write(CreditsLow, available=available, threshold=plan.low_credits)
    if available <= 0 and not ledger.told_exhausted:
        book.write(CreditsExhausted, available=available)


def ending_of(hold: Hold) -> dict[str, Any]:
    """What every end of a hold repeats of it."""
    return {
        "hold_id": hold.id,
        "task_id": hold.task_id,
        "group_id": hold.group_id,
        "slots": hold.slots,
        "task_type": hold.task_type,
    }
