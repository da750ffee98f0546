"""What the plain ledger is made of: a clock, plans, grants, holds and charges of single credits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

BURN_ORDER = ["trial", "promotional", "adjustment", "paid"]
BEGINNING = datetime.min.replace(tzinfo=UTC)
FAR = datetime.max.replace(tzinfo=UTC)
REFUND_DAYS = 400
MIDDLE = 100


@dataclass
class PlainClock:
    """One for all accounts of a history; nobody moves it but the history."""

    now: datetime


@dataclass(frozen=True)
class PlainPlan:
    active_max: int
    daily_max: int
    trials_max: int = 0
    overdraft_max: int = 0
    low: int | None = None
    priority_raise: int = 0


@dataclass
class PlainGrant:
    """Free and held credits of one grant; spent ones stay listed."""

    id: UUID
    priority: int
    kind: str
    free: int
    begins: datetime | None = None
    ends: datetime | None = None
    held: int = 0
    waiting: bool = False
    void: bool = False

    def gone(self, at: datetime) -> bool:
        return self.void or (not self.waiting and self.ends is not None and self.ends <= at)


@dataclass
class PlainHold:
    """For every single credit its grant, in the order taken.

    `slots` of its tasks may be active at a time. One that is `owned` by tasks is not settled by
    others.
    """

    credits: list[UUID | None]
    ends: datetime | None = None
    trial: bool = False
    slots: int = 1
    owned: bool = False


@dataclass
class PlainCharge:
    """What may still be refunded, the last charged last."""

    credits: list[UUID | None]
    amount: int
    at: datetime
