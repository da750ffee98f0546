"""What a task would cost and whether it would be accepted, decided as its submission would be."""

from __future__ import annotations

import msgspec

from domain import metering
from domain.errors import (
    DomainError,
    IllegalTransition,
    InsufficientCredits,
    LimitReached,
    OperatorsOnly,
    StorageFull,
)
from domain.event import Metadata
from domain.ledger import CreditLedger
from domain.ledger_events import CreditsHeld
from domain.plan import Plan
from domain.task import ReuseResult, SubmitTask

REFUSALS = (
    InsufficientCredits,
    LimitReached,
    IllegalTransition,
    StorageFull,
    OperatorsOnly,
)
"""What an account refuses; what is wrong with the request itself is raised."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """`credits` is what would be held: nothing for a free `trial`, or for one that is refused."""

    credits: int
    trial: bool
    refusal: DomainError | None


def quote(
    ledger: CreditLedger | None,
    command: SubmitTask,
    plan: Plan,
    meta: Metadata,
    reuse: ReuseResult | None,
) -> Quote:
    """Raises what a submission raises for the request itself; nothing is written."""
    try:
        events = metering.submit(None, ledger, command, plan, meta, reuse=reuse)
    except REFUSALS as refusal:
        return Quote(credits=0, trial=False, refusal=refusal)
    [held] = [event for event in events if isinstance(event, CreditsHeld)]
    return Quote(credits=held.amount, trial=held.trial, refusal=None)
