"""A decision on a ledger as it is being written: event by event, with what time has brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain import balance as totals
from domain.balance import Balance
from domain.errors import LimitReached
from domain.event import Metadata
from domain.grants import Slices
from domain.ledger_events import (
    CreditsExhausted,
    CreditsExpired,
    CreditsHeld,
    CreditsLow,
    CreditsVoided,
    Hold,
    HoldExtended,
    LedgerEvent,
)
from domain.ledger_machines import ACTIVE_RETRY_SECONDS, HELD_SLICES_MAX, SLICES_MAX
from domain.ledger_state import CreditLedger, evolve

_TAKEN: Mapping[type, Callable[[Any], int]] = MappingProxyType(
    {
        CreditsHeld: attrgetter("amount"),
        HoldExtended: attrgetter("added"),
        CreditsExpired: attrgetter("amount"),
        CreditsVoided: attrgetter("amount"),
    }
)
"""How much less is available after an event, at most; after the others it is no less."""


class Book:
    """Events one after the other, each written on the state that those before it leave."""

    __slots__ = ("_available", "_ledger", "_pending", "events", "meta")

    def __init__(self, ledger: CreditLedger, meta: Metadata) -> None:
        self._ledger = ledger
        self._available = ledger.balance.available
        self._pending: list[LedgerEvent] = []
        self.events: list[LedgerEvent] = []
        self.meta = meta

    @property
    def ledger(self) -> CreditLedger:
        """The state after the events so far, folded only when it is asked for."""
        if self._pending:
            for event in self._pending:
                self._ledger = evolve(self._ledger, event)
            self._pending.clear()
        return self._ledger

    @property
    def balance(self) -> Balance:
        """The totals after the events so far: less work than all of the state."""
        balance = self._ledger.balance
        for event in self._pending:
            balance = totals.evolve(balance, event)
        return balance

    @property
    def least_available(self) -> int:
        """At least so much is available after the events so far: what came back is left out."""
        available = self._available
        for event in self.events:
            if (taken := _TAKEN.get(type(event))) is not None:
                available -= taken(event)
        return available

    @property
    def id(self) -> UUID:
        return self._ledger.balance.id

    @property
    def next_version(self) -> int:
        return self._ledger.balance.version + len(self._pending) + 1

    def add(self, event: LedgerEvent) -> None:
        """Written by its caller with `id`, `next_version` and `meta`: what is frequent."""
        self._pending.append(event)
        self.events.append(event)

    def write(self, event_type: Callable[..., LedgerEvent], **fields: object) -> None:
        self.add(
            event_type(
                originator_id=self.id,
                originator_version=self.next_version,
                meta=self.meta,
                **fields,
            )
        )


def gone_of(overdrawn: int, amount: int) -> dict[str, int]:
    """What of credits that go pays a debt, and what is lost."""
    repaid = max(0, min(amount, overdrawn))
    return {"amount": amount - repaid, "repaid": repaid}


def guard_slices(ledger: CreditLedger, slices: Slices, before: int = 0) -> Slices:
    """The slices, to be taken beside the `before` of the same hold. Raises `LimitReached`."""
    if before + len(slices) > SLICES_MAX:
        raise LimitReached("hold_slices_max", SLICES_MAX)
    if ledger.held_slices + len(slices) > HELD_SLICES_MAX:
        raise LimitReached("held_slices_max", HELD_SLICES_MAX, ACTIVE_RETRY_SECONDS)
    return slices


def tell_owner(book: Book, low: int | None) -> None:
    """Of less than `low` where the plan asks for it, of nothing left on every plan.

    Each once until there is enough again, whatever led to it; of another `low` once more. An
    account that never had credits, and lives on free trials or on what it may owe, has none left
    to run out of.
    """
    if book.least_available >= max(1, low or 0):
        return
    balance = book.balance
    if balance.status == "closed" or balance.granted == balance.pending:
        return
    ledger = book.ledger
    if low is not None and balance.available < low and ledger.told_at != low:
        book.write(CreditsLow, available=balance.available, threshold=low)
    if balance.available <= 0 and not ledger.told_exhausted:
        book.write(CreditsExhausted, available=balance.available)


def ending_of(hold: Hold) -> dict[str, Any]:
    """What every end of a hold repeats of it."""
    return {
        "hold_id": hold.id,
        "task_id": hold.task_id,
        "group_id": hold.group_id,
        "slots": hold.slots,
        "task_type": hold.task_type,
    }
