"""Limits of a plan on a ledger: active tasks, and tasks of a day (UTC).

`PLAN` allows 3 active tasks and 5 a day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from msgspec.structs import replace

from domain import ledger
from domain.errors import LimitReached
from domain.ledger import ReleaseHold
from tests.unit.domain.given import HOLD_ID, PLAN, a_ledger, after, grant, hold, metadata
from tests.unit.domain.ledger_decisions import META, holds, settled

MIDNIGHT = datetime(2025, 3, 2, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def test_the_last_active_task_is_taken_and_the_next_refused() -> None:
    full = a_ledger(*holds(3, plan=PLAN))
    with pytest.raises(LimitReached) as refusal:
        ledger.decide(full, hold(0, number=3, plan=PLAN), META)
    assert (refusal.value.limit, refusal.value.maximum) == ("active_tasks_max", 3)
    assert refusal.value.retry_after_seconds == 10
    freed = after(full, ReleaseHold(hold_id=HOLD_ID))
    assert ledger.decide(freed, hold(0, number=3, plan=PLAN), META)


def test_the_last_task_of_the_day_is_taken_and_the_next_refused_until_midnight() -> None:
    spent = a_ledger(*settled(4), hold(0, number=4, plan=PLAN))
    next_hold = hold(0, number=5, plan=PLAN)
    with pytest.raises(LimitReached) as refusal:
        ledger.decide(spent, next_hold, metadata(MIDNIGHT - TICK))
    assert (refusal.value.limit, refusal.value.maximum) == ("daily_tasks_max", 5)
    assert ledger.decide(spent, next_hold, metadata(MIDNIGHT))


@pytest.mark.parametrize(
    ("before_midnight", "seconds"),
    [(TICK, 1), (timedelta(seconds=1), 2), (timedelta(hours=12), 43_201)],
)
def test_the_time_to_wait_for_a_new_day_is_honest(before_midnight: timedelta, seconds: int) -> None:
    at = MIDNIGHT - before_midnight
    spent = a_ledger(*settled(5))
    with pytest.raises(LimitReached) as refusal:
        ledger.decide(spent, hold(0, number=5, plan=PLAN), metadata(at))
    wait = refusal.value.retry_after_seconds
    assert wait == seconds
    assert ledger.decide(
        spent, hold(0, number=5, plan=PLAN), metadata(at + timedelta(seconds=wait))
    )


def test_the_day_is_that_of_utc_whatever_the_offset() -> None:
    east = timezone(timedelta(hours=9))
    spent = a_ledger(*settled(5), at=datetime(2025, 3, 1, 23, 59, tzinfo=UTC))
    still_today = datetime(2025, 3, 2, 8, 59, 59, tzinfo=east)
    with pytest.raises(LimitReached):
        ledger.decide(spent, hold(0, number=5, plan=PLAN), metadata(still_today))
    tomorrow = still_today + timedelta(seconds=1)
    assert after(spent, hold(0, number=5, plan=PLAN), at=tomorrow).day_count == 1


def test_a_clock_set_back_does_not_begin_the_day_anew() -> None:
    """Two processes whose clocks differ around midnight must not double the day's tasks."""
    spent = a_ledger(*settled(5), at=MIDNIGHT)
    for back in (TICK, timedelta(days=3)):
        with pytest.raises(LimitReached) as refusal:
            ledger.decide(spent, hold(0, number=5, plan=PLAN), metadata(MIDNIGHT - back))
        assert refusal.value.retry_after_seconds is not None
        wait = timedelta(seconds=refusal.value.retry_after_seconds)
        assert MIDNIGHT - back + wait > MIDNIGHT + timedelta(days=1)
    late = after(a_ledger(hold(0), at=MIDNIGHT), hold(0, number=1), at=MIDNIGHT - TICK)
    assert (late.day, late.day_count) == (MIDNIGHT.date(), 2)


@pytest.mark.parametrize("limit", ["active_tasks_max", "daily_tasks_max"])
def test_a_limit_of_none_at_all_holds_from_the_first_task(limit: str) -> None:
    plan = replace(PLAN, **{limit: 0})
    with pytest.raises(LimitReached) as refusal:
        ledger.decide(a_ledger(grant(5)), hold(1, plan=plan), META)
    assert refusal.value.limit == limit
