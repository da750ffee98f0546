"""What a task or a group costs, in a verdict and a sentence that every answer about it can give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from domain.errors import IllegalTransition

if TYPE_CHECKING:
    from domain.group_state import Group
    from domain.task_state import Task

Verdict = Literal["held", "charged", "refunded", "released", "not_charged"]


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a task's or group's credits: `credits` are on hold, charged or given back.

    Those of a group's member are on hold until the group's one settlement, whatever became of it.
    What was refunded of a charge is left out of it; `refunded` is when all of it was.

    With `charged` and `released` they are the sum over all runs of the task, each of which has its
    own hold; `not_charged` is a task that costs nothing.
    """

    verdict: Verdict
    credits: int
    sentence: str


def money_of(task: Task, refunded: int = 0, *, settled: bool = True) -> Money:
    """`refunded` is what the ledger gave back of the task's charge.

    `settled` is False for a group's member as long as the group's hold stands.
    """
    if task.credits_held:
        return _money("held", task.credits_held, _waiting(task))
    if not task.ended or (task.trial and task.status == "completed"):
        return _money("not_charged", 0, _free(task))
    if not settled and (task.credits_charged or task.credits_released):
        return _unsettled(task.credits_charged, task.credits_released)
    if refunded:
        return _refunded(task.credits_charged, refunded)
    return _settled(task.credits_charged, task.credits_released)


def settled_in(task: Task, group: Group | None) -> bool:
    """Whether the hold that pays for `task` was settled; `group` is its own, None if it has none.

    A group that was run again has another hold than its members of runs before.
    """
    if task.group_id is None or group is None:
        return task.group_id is None
    return group.ended or group.hold_id != task.hold_id


def money_of_group(group: Group, refunded: int = 0) -> Money:
    """Of all its runs, each of which is paid by one hold and settled once.

    `refunded` is what the ledger gave back of the charges of all of them.
    """
    if group.credits_held:
        return _money("held", group.credits_held, _group_waiting(group, refunded))
    if not group.ended:
        return _money("not_charged", 0, "Nothing is on hold: the group costs nothing.")
    if refunded:
        return _refunded(group.credits_charged, refunded)
    return _settled(group.credits_charged, group.credits_released)


def _settled(charged: int, released: int) -> Money:
    if charged:
        rest = f"; {released} came back" if released else ""
        return _money("charged", charged, f"{_credits(charged)} charged{rest}.")
    if released:
        return _money(
            "released", released, f"{_credits(released)} given back, nothing was charged."
        )
    return _money("not_charged", 0, "Nothing was charged.")


def _unsettled(charged: int, released: int) -> Money:
    """Of a member that has ended, while its group goes on."""
    held = f"{_credits(charged + released)} on hold with its group; when the group ends,"
    if not charged:
        return _money("held", released, f"{held} all of it comes back.")
    rest = f", and {released} come back" if released else ""
    return _money("held", charged + released, f"{held} {charged} will be charged{rest}.")


def _free(task: Task) -> str:
    """Of a run that costs nothing; credits that earlier runs held have come back."""
    if not task.trial:
        return "Nothing is on hold: the task costs nothing."
    return f"A free trial: nothing {'was charged' if task.ended else 'is on hold'}."


@contextmanager
def money_told(money: Money) -> Iterator[None]:
    """A refusal of the state says also what has become of the credits."""
    try:
        yield
    except IllegalTransition as error:
        raise error.with_money(money) from error


def _money(verdict: Verdict, credits_: int, sentence: str) -> Money:
    return Money(verdict=verdict, credits=credits_, sentence=sentence)


def _waiting(task: Task) -> str:
    held = f"{_credits(task.credits_held)} on hold"
    if task.group_id is not None:
        return f"{held} with its group, which is charged for what it delivered when it ends."
    if task.status == "cancelling":
        return (
            f"{held} until its worker stops; then they come back, unless the task still completes."
        )
    return f"{held}."


def _group_waiting(group: Group, refunded: int) -> str:
    cost = group.credits_charged - refunded
    before = f" Runs before it cost {cost}." if cost else ""
    return (
        f"{_credits(group.credits_held)} on hold until all members have ended; so far"
        f" {group.delivered_credits} will be charged.{before}"
    )


def _refunded(charged: int, refunded: int) -> Money:
    if refunded == charged:
        return _money("refunded", refunded, f"{_credits(refunded)} refunded: the whole charge.")
    left = charged - refunded
    return _money("charged", left, f"{_credits(left)} charged; {refunded} more came back.")


def _credits(amount: int) -> str:
    return "1 credit is" if amount == 1 else f"{amount} credits are"
