"""A group: one hold, members a few at a time, one settlement with the end of the last of them."""

from __future__ import annotations

from uuid import UUID

import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain import group, metering
from domain.errors import (
    AlreadyExists,
    IllegalTransition,
    InsufficientCredits,
    InvalidInput,
    LimitReached,
    MemberOfGroup,
    NotFound,
)
from domain.group import (
    INPUT_BYTES_MAX,
    MEMBERS_MAX,
    CancelGroup,
    EndMember,
    RetryGroup,
    StartGroup,
)
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsReleased, LedgerEvent
from domain.plan import Plan
from domain.pricing import Terms
from domain.task import (
    CompleteTask,
    ExpireTask,
    ReleaseTask,
    RetryTask,
    RunCommand,
    StallTask,
    StartTask,
)
from domain.task_events import TaskSubmitted
from tests.unit.domain.given import NOON, metadata
from tests.unit.domain.given_group import (
    GROUP_HOLD_ID,
    GROUP_ID,
    NEW_TASK_IDS,
    NEXT_GROUP_HOLD_ID,
    TERMS,
    Played,
    group_in,
    member,
    starting,
)

# Starting


def test_a_start_holds_the_price_of_all_members_once_and_submits_the_first() -> None:
    played = Played().start(starting(4, parallel_max=3))
    assert played.topics == ["group.started", "credits.held", *["task.submitted"] * 3]
    held = played.events[1]
    assert isinstance(held, CreditsHeld)
    assert (held.group_id, held.task_id, held.amount) == (GROUP_ID, None, 40)
    assert (held.tasks, held.slots) == (4, 3)
    assert played.statuses == ["active", "active", "active", "pending"]
    assert played.money == (60, 40, 0)


def test_a_members_task_is_what_the_group_was_started_with() -> None:
    submitted = Played().start().events[2]
    assert isinstance(submitted, TaskSubmitted)
    first = member(0)
    assert submitted.originator_id == first.task_id
    assert (submitted.type, submitted.input) == (first.type, first.input)
    assert (submitted.group_id, submitted.hold_id, submitted.credits) == (
        GROUP_ID,
        GROUP_HOLD_ID,
        first.credits,
    )
    assert (submitted.attempts_max, submitted.queue_seconds_max, submitted.run_seconds_max) == (
        first.attempts_max,
        first.queue_seconds_max,
        first.run_seconds_max,
    )
    assert (submitted.project, submitted.priority) == ("films", 2)


def test_a_plan_raises_the_priority_of_every_member() -> None:
    played = Played(plan=Plan(name="first class", priority_raise=1, active_tasks_max=9)).start()
    played.deliver(0)
    submitted = [event for event in played.log if isinstance(event, TaskSubmitted)]
    assert [event.priority for event in submitted] == [1, 1, 1]


def test_a_group_counts_its_members_for_the_day_and_its_slots_as_active() -> None:
    plan = Plan(name="tight", active_tasks_max=2, daily_tasks_max=4)
    played = Played(plan=plan).start(starting(4, parallel_max=2))
    assert (played.ledger.balance.active, played.ledger.day_count) == (2, 4)
    played.deliver(0).deliver(1).deliver(2)
    assert played.ledger.balance.active == 2
    played.deliver(3)
    assert played.ledger.balance.active == 0


@pytest.mark.parametrize(
    ("plan", "limit"),
    [
        (Plan(name="slow", active_tasks_max=1), "active_tasks_max"),
        (Plan(name="small", daily_tasks_max=3), "daily_tasks_max"),
    ],
)
def test_a_group_that_passes_a_limit_is_refused(plan: Plan, limit: str) -> None:
    with pytest.raises(LimitReached) as refusal:
        Played(plan=plan).start(starting(4, parallel_max=2))
    assert refusal.value.limit == limit


def test_a_group_that_is_smaller_than_its_parallel_max_takes_no_more_slots_than_members() -> None:
    plan = Plan(name="narrow", active_tasks_max=1)
    played = Played(plan=plan).start(starting(1, parallel_max=3))
    assert played.ledger.balance.active == 1


def test_a_group_that_the_balance_does_not_cover_is_refused() -> None:
    with pytest.raises(InsufficientCredits) as refusal:
        Played(credits_granted=39).start()
    assert (refusal.value.required, refusal.value.available) == (40, 39)


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (starting(priority=4), "/priority"),
        (starting(parallel_max=0), "/parallel_max"),
        (starting(parallel_max=MEMBERS_MAX + 1), "/parallel_max"),
        (replace(starting(), members=()), "/members"),
        (starting(MEMBERS_MAX + 1), "/members"),
        (
            replace(
                starting(),
                members=tuple(
                    replace(member(n), input=Raw(b'"%s"' % (b"x" * (INPUT_BYTES_MAX // 2 - 1))))
                    for n in range(2)
                ),
            ),
            "/members",
        ),
    ],
)
def test_a_group_out_of_its_bounds_is_refused(command: StartGroup, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Played(credits_granted=10_000).start(command)
    assert refusal.value.errors[0][0] == pointer


def test_a_group_of_the_most_members_and_the_largest_inputs_is_accepted() -> None:
    each = INPUT_BYTES_MAX // MEMBERS_MAX
    inputs = Raw(b'"%s"' % (b"x" * (each - 2)))
    members = tuple(replace(member(n, price=0), input=inputs) for n in range(MEMBERS_MAX))
    played = Played().start(replace(starting(), members=members, parallel_max=MEMBERS_MAX))
    assert len(played.tasks) == MEMBERS_MAX


@pytest.mark.parametrize("status", ["processing", "completed", "partial"])
def test_starting_again_what_is_there_changes_nothing(status: str) -> None:
    played = group_in(status)
    assert played.start(starting(3, hold_id=UUID(int=9))).events == []


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_starting_again_what_came_to_nothing_is_a_new_run(status: str) -> None:
    played = group_in(status)
    before = played.state
    again = replace(
        starting(hold_id=NEXT_GROUP_HOLD_ID),
        members=tuple(replace(member(n), task_id=NEW_TASK_IDS[n]) for n in range(3)),
    )
    played.start(again)
    assert played.topics == ["group.started", "credits.held", *["task.submitted"] * 2]
    assert (played.state.run, played.state.status) == (2, "processing")
    assert played.state.credits_held == 30
    assert played.state.credits_charged == before.credits_charged
    assert played.state.created_at == before.created_at
    assert played.state.ended_at is None


def test_a_group_that_is_being_cancelled_cannot_be_started() -> None:
    with pytest.raises(IllegalTransition) as refusal:
        group_in("cancelling").start()
    assert refusal.value.state == "cancelling"


# Members end


def test_a_members_end_lets_the_next_start_and_moves_no_credits() -> None:
    played = Played().start().deliver(0)
    assert played.topics == ["task.completed", "group.member_ended", "task.submitted"]
    assert played.statuses == ["completed", "active", "active", "pending"]
    assert played.money == (60, 40, 0)


def test_members_start_in_their_order_whoever_ends_first() -> None:
    played = Played().start().deliver(1).deliver(2)
    assert played.statuses == ["active", "completed", "completed", "active"]


def test_only_the_delivered_are_charged_and_at_once() -> None:
    played = Played().start().deliver(0).fail(1).deliver(2, charge=4).fail(3)
    assert played.topics == [
        "task.failed",
        "group.member_ended",
        "group.partial",
        "credits.captured",
    ]
    assert played.money == (86, 0, 14)
    assert (played.state.credits_charged, played.state.credits_released) == (14, 26)
    assert played.state.credits_held == 0
    assert played.state.ended_at == NOON


def test_a_group_whose_every_member_is_delivered_is_completed() -> None:
    played = Played().start().deliver(0).deliver(1).deliver(2).deliver(3)
    assert (played.state.status, played.money) == ("completed", (60, 0, 40))


def test_a_group_without_any_delivered_member_fails_and_costs_nothing() -> None:
    played = Played().start().fail(0).fail(1).fail(2).fail(3)
    assert played.topics == [
        "task.failed",
        "group.member_ended",
        "group.failed",
        "credits.released",
    ]
    assert (played.state.status, played.money) == ("failed", (100, 0, 0))


def test_free_members_that_are_delivered_are_captured_as_nothing() -> None:
    played = Played().start(starting(prices=[0, 0])).deliver(0).deliver(1)
    captured = played.events[-1]
    assert isinstance(captured, CreditsCaptured)
    assert captured.amount == 0


def test_a_group_moves_credits_twice_whatever_comes_between() -> None:
    played = Played().start().cancel_member(0).fail(1).deliver(2).deliver(3)
    moves = [event for event in played.log if isinstance(event, LedgerEvent)]
    assert [event.TOPIC for event in moves] == ["credits.held", "credits.captured"]


@pytest.mark.parametrize(
    "ending",
    [
        ExpireTask(),
        StallTask(token=1),
        ReleaseTask(token=1),
    ],
)
def test_a_member_of_a_cancelling_task_ends_however_its_worker_ends(ending: RunCommand) -> None:
    played = Played().start(starting(1)).run(0).cancel_member(0)
    assert played.topics == ["task.cancel_requested"]
    at = NOON.replace(day=2)
    state = played.tasks[played.state.members[0].task_id]
    events = metering.proceed(state, played.ledger, ending, metadata(at), played.group)
    assert [event.TOPIC for event in events] == [
        "task.cancelled",
        "group.member_ended",
        "group.failed",
        "credits.released",
    ]


def test_a_member_that_stalled_too_often_has_failed() -> None:
    played = Played().start(starting(1))
    for token in (1, 2, 3, 4):
        played.on_task(0, StartTask(worker="w"), StallTask(token=token))
    assert played.topics[0] == "task.failed"
    assert played.state.status == "failed"


def test_a_members_failed_attempt_and_hand_back_leave_the_group_alone() -> None:
    played = Played().start().run(0).on_task(0, ReleaseTask(token=1))
    assert played.topics == ["task.released"]
    assert played.state.version == 1


def test_a_members_own_cancel_counts_as_not_delivered() -> None:
    played = Played().start().cancel_member(0)
    assert played.topics == ["task.cancelled", "group.member_ended", "task.submitted"]
    assert played.statuses == ["cancelled", "active", "active", "pending"]


def test_a_members_own_retry_is_refused() -> None:
    played = Played().start().fail(0)
    failed = played.tasks[member(0).task_id]
    command = RetryTask(hold_id=UUID(int=9), credits=1)
    with pytest.raises(MemberOfGroup) as refusal:
        metering.retry(failed, played.ledger, command, played.plan, metadata())
    assert refusal.value.group_id == GROUP_ID


def test_a_member_ends_in_no_other_group() -> None:
    played = Played().start().run(0)
    state = played.tasks[member(0).task_id]
    for other in (None, replace(played.state, id=UUID(int=9))):
        with pytest.raises(AssertionError):
            metering.proceed(state, played.ledger, ExpireTask(), metadata(state.deadline_at), other)


def test_the_end_of_what_is_no_member_at_work_is_refused() -> None:
    played = Played().start()
    for task_id in (UUID(int=9), member(3).task_id):
        with pytest.raises(NotFound):
            group.decide(played.state, EndMember(task_id=task_id, outcome="failed"), metadata())


# Cancelling


def test_cancelling_ends_what_is_queued_and_starts_nothing_more() -> None:
    played = Played().start().deliver(0).cancel()
    assert played.topics == [
        "group.cancel_requested",
        "task.cancelled",
        "group.member_ended",
        "task.cancelled",
        "group.member_ended",
        "group.cancelled",
        "credits.captured",
    ]
    assert played.statuses == ["completed", "cancelled", "cancelled", "skipped"]
    assert played.money == (90, 0, 10)


def test_cancelling_asks_what_runs_and_waits_for_it() -> None:
    played = Played().start().run(0).cancel()
    assert played.topics == [
        "group.cancel_requested",
        "task.cancel_requested",
        "task.cancelled",
        "group.member_ended",
    ]
    assert played.state.status == "cancelling"
    played.confirm_cancel(0)
    assert played.topics[-2:] == ["group.cancelled", "credits.released"]
    assert played.money == (100, 0, 0)


def test_a_member_that_is_done_before_it_hears_of_the_cancel_is_charged() -> None:
    played = Played().start(starting(1)).run(0).cancel()
    played.on_task(0, CompleteTask(token=1, result=Raw(b"{}")))
    assert (played.state.status, played.money) == ("cancelled", (90, 0, 10))


def test_a_member_whose_own_cancel_is_under_way_is_asked_no_more() -> None:
    played = Played().start(starting(1)).run(0).cancel_member(0).cancel()
    assert played.topics == ["group.cancel_requested"]
    played.confirm_cancel(0)
    assert played.state.status == "cancelled"


def test_cancelling_needs_every_task_at_work() -> None:
    played = Played().start()
    with pytest.raises(AssertionError):
        metering.cancel_group(played.group, played.ledger, (), CancelGroup(), metadata())


# Retrying


def test_a_retry_runs_what_was_not_delivered_under_a_new_hold_at_todays_price() -> None:
    played = Played().start().deliver(0).fail(1).deliver(2).fail(3)
    assert played.money == (80, 0, 20)
    played.retry()
    assert played.topics == ["group.retried", "credits.held", *["task.submitted"] * 2]
    assert played.statuses == ["completed", "active", "completed", "active"]
    assert [one.task_id for one in played.state.members] == [
        member(0).task_id,
        NEW_TASK_IDS[0],
        member(2).task_id,
        NEW_TASK_IDS[1],
    ]
    assert played.money == (66, 14, 20)
    played.deliver(1).deliver(3)
    assert (played.state.status, played.money) == ("completed", (66, 0, 34))
    assert played.state.credits_charged == 34


def test_a_vain_retry_leaves_a_partial_group_partial_and_charges_nothing() -> None:
    played = group_in("partial").retry().fail(1)
    assert played.topics[-2:] == ["group.partial", "credits.released"]
    assert played.money == (90, 0, 10)


def test_a_retry_takes_slots_for_those_that_run_again_alone() -> None:
    played = Played().start(starting(3, parallel_max=3)).deliver(0).deliver(1).fail(2).retry()
    assert played.ledger.balance.active == 1
    assert played.ledger.day_count == 4


def test_the_same_retry_twice_is_one() -> None:
    played = group_in("partial").retry()
    assert played.retry().events == []


def test_a_retry_with_the_hold_of_the_run_before_is_refused() -> None:
    with pytest.raises(AlreadyExists):
        group_in("failed").retry(hold_id=GROUP_HOLD_ID)


def test_a_retry_that_cannot_be_paid_changes_nothing() -> None:
    played = Played(credits_granted=20).start(starting(2)).deliver(0).fail(1)
    terms = {member(1).task_id: Terms(credits=11)}
    command = RetryGroup(hold_id=NEXT_GROUP_HOLD_ID, task_ids=NEW_TASK_IDS, terms=terms)
    with pytest.raises(InsufficientCredits):
        metering.retry_group(played.group, played.ledger, command, played.plan, metadata())


def test_a_retry_needs_an_id_for_each_member() -> None:
    command = RetryGroup(hold_id=NEXT_GROUP_HOLD_ID, task_ids=NEW_TASK_IDS[:1], terms=TERMS)
    with pytest.raises(AssertionError):
        group.decide(group_in("failed").state, command, metadata())


# What is not there


@pytest.mark.parametrize(
    "command",
    [
        CancelGroup(),
        EndMember(task_id=UUID(int=1), outcome="failed"),
        RetryGroup(hold_id=NEXT_GROUP_HOLD_ID, task_ids=(), terms={}),
    ],
)
def test_no_group_no_verb(command: CancelGroup | EndMember | RetryGroup) -> None:
    with pytest.raises(NotFound):
        group.decide(None, command, metadata())


def test_a_released_hold_says_which_group_it_was() -> None:
    released = Played().start(starting(1)).fail(0).events[-1]
    assert isinstance(released, CreditsReleased)
    assert (released.group_id, released.slots) == (GROUP_ID, 1)
    assert released.reason == "group.failed"


def test_what_a_reader_is_shown_has_no_inputs() -> None:
    bare = Played().start().state.without_inputs()
    assert {bytes(one.input) for one in bare.members} == {b"{}"}
