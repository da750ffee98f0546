"""The verdict on a task's credits, in every state it can be in."""

from __future__ import annotations

import pytest
from msgspec import Raw

from domain import task
from domain.errors import IllegalTransition
from domain.group import GROUP
from domain.money import Money, money_of, money_of_group, money_told, settled_in
from domain.task import TASK, CancelTask, CompleteTask, RetryTask, StartTask
from tests.unit.domain.given import (
    NEXT_HOLD_ID,
    PATHS,
    PRICE,
    a_task,
    metadata,
    retried_task,
    submission,
    task_in,
)
from tests.unit.domain.given_group import Played, group_in, starting

VERDICTS = {
    "queued": ("held", PRICE, "10 credits are on hold."),
    "running": ("held", PRICE, "10 credits are on hold."),
    "backoff": ("held", PRICE, "10 credits are on hold."),
    "cancelling": (
        "held",
        PRICE,
        (
            "10 credits are on hold until its worker stops; then they come back,"
            " unless the task still completes."
        ),
    ),
    "completed": ("charged", PRICE, "10 credits are charged."),
    "failed": ("released", PRICE, "10 credits are given back, nothing was charged."),
    "cancelled": ("released", PRICE, "10 credits are given back, nothing was charged."),
}


def told(money: Money) -> tuple[str, int, str]:
    return money.verdict, money.credits, money.sentence


def test_every_state_has_its_verdict() -> None:
    assert {state: told(money_of(task_in(state))) for state in TASK.states} == VERDICTS


@pytest.mark.parametrize("state", TASK.states)
def test_a_free_task_costs_nothing_in_any_state(state: str) -> None:
    free = a_task(*PATHS[state], submit=submission(price=0))
    assert (money_of(free).verdict, money_of(free).credits) == ("not_charged", 0)


def test_a_part_that_is_charged_and_the_rest_are_told_apart() -> None:
    part = CompleteTask(token=1, result=Raw(b"{}"), charge=1)
    ended = a_task(StartTask(worker="w"), part)
    assert told(money_of(ended)) == ("charged", 1, "1 credit is charged; 9 came back.")


def test_a_result_that_is_given_away_is_no_charge() -> None:
    free = CompleteTask(token=1, result=Raw(b"{}"), charge=0)
    assert money_of(a_task(StartTask(worker="w"), free)).verdict == "released"


def test_the_sums_are_over_all_runs() -> None:
    again = RetryTask(hold_id=NEXT_HOLD_ID, credits=PRICE)
    assert told(money_of(retried_task())) == ("held", PRICE, "10 credits are on hold.")
    ended = a_task(*PATHS["failed"], again, CancelTask())
    assert (money_of(ended).verdict, money_of(ended).credits) == ("released", 2 * PRICE)


def test_a_refusal_keeps_what_it_says_and_tells_of_the_money() -> None:
    ended = task_in("completed")
    with pytest.raises(IllegalTransition) as refusal, money_told(money_of(ended)):
        task.decide(ended, CancelTask(), metadata())
    assert (refusal.value.state, refusal.value.allowed) == ("completed", ())
    assert refusal.value.money == money_of(ended)
    assert str(refusal.value) == ("Cannot cancel a task that is completed. 10 credits are charged.")


def test_a_group_that_costs_nothing_says_so_before_and_after_its_end() -> None:
    played = Played().start(starting(prices=[0, 0]))
    free = ("not_charged", 0, "Nothing is on hold: the group costs nothing.")
    assert told(money_of_group(played.state)) == free
    ended = played.deliver(0).deliver(1).state
    assert told(money_of_group(ended)) == ("not_charged", 0, "Nothing was charged.")


def test_a_group_leaves_out_of_its_cost_what_was_refunded() -> None:
    ended = Played().start(starting(2)).deliver(0).deliver(1).state
    assert told(money_of_group(ended, 5)) == (
        *("charged", 15, "15 credits are charged; 5 more came back."),
    )
    assert told(money_of_group(ended, 20)) == (
        *("refunded", 20, "20 credits are refunded: the whole charge."),
    )


@pytest.mark.parametrize("status", GROUP.states)
def test_a_member_is_settled_with_its_group_and_no_earlier(status: str) -> None:
    played = group_in(status)
    member = played.tasks[played.state.members[0].task_id]
    assert settled_in(member, played.state) is GROUP.terminal(status)
    assert settled_in(member, None) is False
    assert settled_in(task_in("completed"), None) is True


def test_a_part_of_a_member_that_will_be_charged_is_told_with_the_rest() -> None:
    played = Played().start(starting(2)).deliver(0, charge=4)
    member = played.tasks[played.state.members[0].task_id]
    assert told(money_of(member, settled=False)) == (
        "held",
        10,
        (
            "10 credits are on hold with its group; when the group ends, 4 will be charged, and 6"
            " come back."
        ),
    )
