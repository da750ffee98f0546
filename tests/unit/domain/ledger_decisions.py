"""An hour after noon: what is decided on a ledger then; and many holds at once."""

from __future__ import annotations

from datetime import timedelta

from domain import ledger
from domain.ledger import CreditLedger, LedgerCommand, ReleaseHold
from domain.ledger_events import LedgerEvent
from domain.plan import Plan
from tests.unit.domain.given import NOON, ROOMY, hold, metadata

LATER = NOON + timedelta(hours=1)
META = metadata(LATER)


def decide_one(before: CreditLedger | None, command: LedgerCommand) -> LedgerEvent:
    (event,) = ledger.decide(before, command, META)
    return event


def holds(count: int, *, plan: Plan = ROOMY, first: int = 0) -> list[LedgerCommand]:
    return [hold(0, number=first + number, plan=plan) for number in range(count)]


def settled(count: int, *, first: int = 0) -> list[LedgerCommand]:
    """So many holds, each released at once."""
    made = holds(count, first=first)
    return [c for h in made for c in (h, ReleaseHold(hold_id=h.hold_id))]  # type: ignore[union-attr]
