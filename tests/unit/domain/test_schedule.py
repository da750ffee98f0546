"""A schedule, given what has happened: what is allowed, refused, quiet, and what a firing is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from domain import metering, schedule
from domain.errors import DomainError, IllegalTransition, InsufficientCredits, InvalidInput
from domain.event import TEXT_LENGTH_MAX, Event
from domain.ledger import CreditLedger
from domain.schedule import (
    SCHEDULE,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    Schedule,
    fire,
    give_up,
)
from domain.schedule_events import ScheduleFired, SchedulePaused, ScheduleSkipped
from tests.unit.domain.given import (
    NOON,
    PRICE,
    ROOMY,
    TASK_ID,
    a_ledger,
    fold_ledger,
    grant,
    metadata,
    submission,
)
from tests.unit.domain.given_schedule import (
    HOUR,
    HOURLY,
    Hourly,
    a_schedule,
    creation,
    fold_schedule,
    schedule_in,
)

ONE = NOON + HOUR
SHORT = InsufficientCredits(required=PRICE, available=0)


class Desk:
    """Takes submissions as the account's ledger allows, or refuses each with `refusal`."""

    def __init__(self, account: CreditLedger, refusal: DomainError | None = None) -> None:
        self.account = account
        self.refusal = refusal
        self.asked = 0

    def __call__(self) -> Sequence[Event]:
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        return metering.submit(None, self.account, submission(), ROOMY, metadata(ONE))


@pytest.fixture
def desk() -> Desk:
    return Desk(a_ledger(grant(100)))


def test_a_new_schedule_waits_for_its_first_time() -> None:
    state = a_schedule()
    assert (state.status, state.next_at, state.fired) == ("active", ONE, 0)
    assert (state.name, state.project, state.cron) == ("hourly", "films", "0 * * * *")


def test_what_never_fires_or_has_no_such_priority_cannot_be_created() -> None:
    over = Hourly(last=NOON)
    with pytest.raises(InvalidInput) as refusal:
        schedule.decide(None, creation(), over, metadata())
    assert refusal.value.errors[0][0] == "/cron"
    with pytest.raises(InvalidInput) as refusal:
        schedule.decide(None, creation(priority=-1), HOURLY, metadata())
    assert refusal.value.errors[0][0] == "/priority"


def test_a_firing_is_the_task_its_hold_and_the_fact_together(desk: Desk) -> None:
    events = fire(a_schedule(), HOURLY, desk, metadata(ONE))
    assert [event.TOPIC for event in events] == [
        "task.submitted",
        "credits.held",
        "schedule.fired",
    ]
    fired = events[-1]
    assert isinstance(fired, ScheduleFired)
    assert (fired.task_id, fired.due_at, fired.next_at, fired.missed) == (
        TASK_ID,
        ONE,
        ONE + HOUR,
        0,
    )
    assert fold_ledger(events[1:2], desk.account).balance.held == PRICE
    state = fold_schedule(events, a_schedule())
    assert (state.fired, state.last_task_id, state.last_due_at) == (1, TASK_ID, ONE)
    assert (state.status, state.next_at) == ("active", ONE + HOUR)


@pytest.mark.parametrize("early", [timedelta(hours=1), timedelta(microseconds=1)])
def test_nothing_fires_before_its_time(desk: Desk, early: timedelta) -> None:
    assert fire(a_schedule(), HOURLY, desk, metadata(ONE - early)) == ()
    assert desk.asked == 0


def test_once_fired_it_does_not_fire_again_for_the_same_time(desk: Desk) -> None:
    events = fire(a_schedule(), HOURLY, desk, metadata(ONE))
    state = fold_schedule(events, a_schedule())
    assert fire(state, HOURLY, desk, metadata(ONE + HOUR / 2)) == ()


@pytest.mark.parametrize("status", ["paused", "deleted"])
def test_one_that_is_not_active_never_fires(desk: Desk, status: str) -> None:
    assert fire(schedule_in(status), HOURLY, desk, metadata(NOON + 9 * HOUR)) == ()
    assert desk.asked == 0


def test_of_missed_times_the_latest_fires_once_and_the_others_are_counted(desk: Desk) -> None:
    late = NOON + 5 * HOUR + HOUR / 2
    *_, fired = fire(a_schedule(), HOURLY, desk, metadata(late))
    assert isinstance(fired, ScheduleFired)
    assert (fired.due_at, fired.missed, fired.next_at) == (NOON + 5 * HOUR, 4, NOON + 6 * HOUR)
    assert desk.asked == 1
    assert fold_schedule([fired], a_schedule()).missed == 4


def test_a_refusal_is_skipped_with_its_reason_and_the_next_time_is_tried(desk: Desk) -> None:
    desk.refusal = SHORT
    (skipped,) = fire(a_schedule(), HOURLY, desk, metadata(ONE))
    assert isinstance(skipped, ScheduleSkipped)
    assert (skipped.reason, skipped.detail) == ("insufficient_credits", str(SHORT))
    assert (skipped.due_at, skipped.next_at, skipped.skips) == (ONE, ONE + HOUR, 1)
    state = fold_schedule([skipped], a_schedule())
    assert (state.status, state.skipped, state.fired, state.next_at) == ("active", 1, 0, ONE + HOUR)
    assert state.last_refusal is not None
    assert state.last_refusal.reason == "insufficient_credits"


def test_after_its_skips_in_a_row_it_pauses_and_says_why(desk: Desk) -> None:
    desk.refusal = SHORT
    state = a_schedule(create=creation(skips_max=3))
    for hour in range(1, 4):
        assert state.status == "active"
        events = fire(state, HOURLY, desk, metadata(NOON + hour * HOUR))
        state = fold_schedule(events, state)
    paused = events[-1]
    assert isinstance(paused, SchedulePaused)
    assert paused.cause == "refused"
    assert paused.reason == f"3 in a row were refused; last: {SHORT}"
    assert (state.status, state.pause_cause, state.next_at) == ("paused", "refused", None)


def test_a_firing_between_begins_the_count_anew(desk: Desk) -> None:
    state = a_schedule(create=creation(skips_max=2))
    for hour, refusal in ((1, SHORT), (2, None), (3, SHORT)):
        desk.refusal = refusal
        state = fold_schedule(fire(state, HOURLY, desk, metadata(NOON + hour * HOUR)), state)
    assert (state.status, state.skips, state.skipped, state.fired) == ("active", 1, 2, 1)


def test_after_its_last_time_it_pauses_whether_it_fired_or_not(desk: Desk) -> None:
    for refusal in (None, SHORT):
        desk.refusal = refusal
        events = fire(a_schedule(), Hourly(last=ONE), desk, metadata(ONE))
        paused = events[-1]
        assert isinstance(paused, SchedulePaused)
        assert paused.cause == "over"
        state = fold_schedule(events, a_schedule())
        assert (state.status, state.next_at) == ("paused", None)


def test_resumed_it_goes_on_from_now_and_makes_up_for_nothing() -> None:
    state = a_schedule(PauseSchedule(reason="holidays"))
    assert (state.pause_cause, state.pause_reason) == ("asked", "holidays")
    late = NOON + 7 * HOUR
    events = schedule.decide(state, ResumeSchedule(), HOURLY, metadata(late))
    resumed = fold_schedule(events, state)
    assert (resumed.status, resumed.next_at, resumed.skips) == ("active", NOON + 8 * HOUR, 0)
    assert (resumed.pause_cause, resumed.pause_reason) == (None, "")


def test_what_has_no_time_to_come_cannot_be_resumed() -> None:
    with pytest.raises(InvalidInput):
        schedule.decide(schedule_in("paused"), ResumeSchedule(), Hourly(last=NOON), metadata())


def test_a_deleted_one_cannot_be_paused_or_resumed() -> None:
    for command in (PauseSchedule(), ResumeSchedule()):
        with pytest.raises(IllegalTransition) as refusal:
            schedule.decide(schedule_in("deleted"), command, HOURLY, metadata())
        assert (refusal.value.state, refusal.value.allowed) == ("deleted", ())


def test_one_whose_times_cannot_be_told_any_more_pauses_and_says_why() -> None:
    gone = InvalidInput("There is no such time zone.")
    events = give_up(a_schedule(), gone, metadata(ONE))
    state = fold_schedule(events, a_schedule())
    assert (state.status, state.pause_cause) == ("paused", "refused")
    assert state.pause_reason == "There is no such time zone."


def test_a_refusal_with_a_long_or_unstorable_sentence_is_cut_to_what_can_be_stored(
    desk: Desk,
) -> None:
    desk.refusal = InvalidInput("x\0" * TEXT_LENGTH_MAX)
    events = fire(a_schedule(create=creation(skips_max=1)), HOURLY, desk, metadata(ONE))
    skipped, paused = events
    assert isinstance(skipped, ScheduleSkipped)
    assert isinstance(paused, SchedulePaused)
    for text in (skipped.detail, paused.reason):
        assert 0 < len(text) <= TEXT_LENGTH_MAX
        assert "\0" not in text


def test_every_version_follows_the_one_before(desk: Desk) -> None:
    desk.refusal = SHORT
    state: Schedule = a_schedule(create=creation(skips_max=1))
    events = fire(state, HOURLY, desk, metadata(ONE))
    assert [event.originator_version for event in events] == [2, 3]
    deleted = schedule.decide(fold_schedule(events, state), DeleteSchedule(), None, metadata(ONE))
    assert [event.originator_version for event in deleted] == [4]
    assert SCHEDULE.terminal("deleted")
    assert deleted[0].originator_id == UUID(int=900)
