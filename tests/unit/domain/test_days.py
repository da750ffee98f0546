"""QUALITY 24: a day is a UTC day, on leap days, and wherever clocks are put forward or back."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from domain import ledger
from domain.errors import LimitReached
from domain.event import Metadata
from domain.ledger import CreditLedger, HoldCredits, OpenAccount, ReleaseHold
from domain.plan import Plan

DAILY = 3
PLAN = Plan(name="few", daily_tasks_max=DAILY)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]
BEGINS = {
    "leap day": datetime(2028, 2, 27, tzinfo=UTC),
    "no leap day": datetime(2027, 2, 27, tzinfo=UTC),
    "spring": datetime(2027, 3, 13, tzinfo=UTC),
    "spring in Europe": datetime(2027, 3, 27, tzinfo=UTC),
    "autumn": datetime(2027, 10, 30, tzinfo=UTC),
    "autumn in America": datetime(2027, 11, 6, tzinfo=UTC),
    "year": datetime(2027, 12, 30, tzinfo=UTC),
}


def _meta(at: datetime) -> Metadata:
    command_id = uuid4()
    return Metadata(at=at, actor="user", correlation_id=command_id, causation_id=command_id)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("begin", BEGINS.values(), ids=BEGINS)
def test_each_utc_day_has_its_number(begin: datetime, zone: str) -> None:
    """Asked every half hour for four days, by a clock that shows any zone's time."""
    account_id = uuid4()
    command = OpenAccount(account_id=account_id, plan=PLAN.name)
    state: CreditLedger = ledger.evolve(None, ledger.decide(None, command, _meta(begin))[0])
    held: Counter[str] = Counter()
    waits: list[tuple[float, float]] = []
    for half_hour in range(4 * 48):
        at = begin + timedelta(minutes=30 * half_hour)
        meta = _meta(at.astimezone(ZoneInfo(zone)))
        hold = HoldCredits(hold_id=uuid4(), task_id=uuid4(), amount=0, plan=PLAN)
        try:
            events = ledger.decide(state, hold, meta)
        except LimitReached as refusal:
            opens = at.replace(hour=0, minute=0) + timedelta(days=1)
            waits.append((refusal.retry_after_seconds or 0, (opens - at).total_seconds() + 1))
            continue
        held[at.date().isoformat()] += 1
        state = ledger.evolve(state, events[0])
        release = ReleaseHold(hold_id=hold.hold_id)
        state = ledger.evolve(state, ledger.decide(state, release, meta)[0])
    assert list(held.values()) == [DAILY] * 4
    assert all(told == left for told, left in waits)
