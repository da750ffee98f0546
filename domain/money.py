"""What a task costs its user, in a verdict and a sentence that every answer about it can give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from domain.errors import IllegalTransition

if TYPE_CHECKING:
    from domain.task_state import Task

Verdict = Literal["held", "charged", "refunded", "released", "not_charged"]


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a task's credits: `credits` are on hold, charged or given back.

    What was refunded of a charge is left out of it; `refunded` is when all of it was.

    With `charged` and `released` they are the sum over all runs of the task, each of which has its
    own hold; `not_charged` is a task that costs nothing.
    """

    verdict: Verdict
    credits: int
    sentence: str


def money_of(task: Task, refunded: int = 0) -> Money:
    """`refunded` is what the ledger gave back of the task's charge."""
    if task.credits_held:
        return _money("held", task.credits_held, _waiting(task))
    if not task.ended or (task.trial and task.status == "completed"):
        return _money("not_charged", 0, _free(task))
    if refunded:
        return _refunded(task.credits_charged, refunded)
    if task.credits_charged:
        return _money("charged", task.credits_charged, _charged(task))
    if task.credits_released:
        given = f"{_credits(task.credits_released)} given back, nothing was charged."
        return _money("released", task.credits_released, given)
    return _money("not_charged", 0, "Nothing was charged.")


def _free(task: Task) -> str:
    """Of a run that costs nothing; credits that earlier runs held have come back."""
    if not task.trial:
        return "Nothing is on hold: the task costs nothing."
    return f"A free trial: nothing {'was charged' if task.ended else 'is on hold'}."


@contextmanager
def money_told(task: Task) -> Iterator[None]:
    """A refusal of the task's state says also what has become of its credits."""
    try:
        yield
    except IllegalTransition as error:
        raise error.with_money(money_of(task)) from error


def _money(verdict: Verdict, credits_: int, sentence: str) -> Money:
    return Money(verdict=verdict, credits=credits_, sentence=sentence)


def _waiting(task: Task) -> str:
    if task.status == "cancelling":
        return (
            f"{_credits(task.credits_held)} on hold until its worker stops; then they come back,"
            " unless the task still completes."
        )
    return f"{_credits(task.credits_held)} on hold."


def _refunded(charged: int, refunded: int) -> Money:
    if refunded == charged:
        return _money("refunded", refunded, f"{_credits(refunded)} refunded: the whole charge.")
    left = charged - refunded
    return _money("charged", left, f"{_credits(left)} charged; {refunded} more came back.")


def _charged(task: Task) -> str:
    charged = f"{_credits(task.credits_charged)} charged"
    if not task.credits_released:
        return f"{charged}."
    return f"{charged}; {task.credits_released} came back."


def _credits(amount: int) -> str:
    return "1 credit is" if amount == 1 else f"{amount} credits are"
