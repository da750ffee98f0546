"""What a plan allows an account; plans are data, looked up by name when a command is decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.errors import InvalidInput
from domain.event import BYTES_MAX, COUNT_MAX, CREDITS_MAX, Count, Name

STRIDE = 1_000_000
"""How far one task moves the next turn of an account of weight 1."""


PLANS_MAX = 1_000


class Plan(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What an account on this plan may do, and how it is served among others.

    `active_tasks_max` bounds the open holds, `daily_tasks_max` the holds made in a UTC day. An
    account of weight 2 gets two turns for each one of weight 1, within a priority; `priority_raise`
    lifts every task's priority by that many levels. The first `trial_tasks` tasks cost nothing.
    Up to `overdraft_max` credits may be held that are not there; the owner is told when fewer than
    `low_credits` are available.

    Once it stores `stored_bytes_max` bytes, an account gets no tasks that store more. An `operator`
    runs the service: it alone may submit task types that clean up after all accounts.
    """

    name: Name
    active_tasks_max: Count = 10
    daily_tasks_max: Count = 1_000
    weight: Annotated[int, Meta(ge=1, le=STRIDE)] = 1
    priority_raise: Annotated[int, Meta(ge=0, le=3)] = 0
    trial_tasks: Annotated[int, Meta(ge=0, le=COUNT_MAX)] = 0
    overdraft_max: Annotated[int, Meta(ge=0, le=CREDITS_MAX)] = 0
    low_credits: Annotated[int, Meta(ge=1, le=CREDITS_MAX)] | None = None
    stored_bytes_max: Annotated[int, Meta(ge=0, le=BYTES_MAX)] | None = None
    operator: bool = False

    @property
    def stride(self) -> int:
        """How far one task moves the account's next turn."""
        return STRIDE // self.weight


class PlanList(msgspec.Struct, frozen=True, kw_only=True):
    """Plans by name, as a version of them is published."""

    version: Name
    plans: dict[str, Plan]


class Plans:
    """The plans in force, by name, and the version that they were published under."""

    def __init__(self, version: str = "", plans: Iterable[Plan] = ()) -> None:
        self.version = version
        self._plans = {plan.name: plan for plan in plans}

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans.values())

    @property
    def content(self) -> PlanList:
        return PlanList(version=self.version, plans=self._plans)

    def named(self, name: str) -> Plan:
        """Raises `InvalidInput` for a plan that does not exist."""
        try:
            return self._plans[name]
        except KeyError:
            choice = ", ".join(sorted(self._plans))
            raise InvalidInput(
                "There is no such plan.", ("/plan", f"must be one of {choice}")
            ) from None

    def known(self, name: str) -> Plan | None:
        """The plan, or None where an account is on one that is no longer in force."""
        return self._plans.get(name)

    def stride_of(self, name: str) -> int:
        """How far a task moves the turn of an account of that plan; as of weight 1 if unknown."""
        plan = self._plans.get(name)
        return STRIDE if plan is None else plan.stride
