"""What a plan allows an account; plans are data, looked up by name when a command is decided."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.errors import InvalidInput
from domain.event import COUNT_MAX, CREDITS_MAX

STRIDE = 1_000_000
"""How far one task moves the next turn of an account of weight 1."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an account on this plan may do, and how it is served among others.

    `active_tasks_max` bounds the open holds, `daily_tasks_max` the holds made in a UTC day. An
    account of weight 2 gets two turns for each one of weight 1, within a priority; `priority_raise`
    lifts every task's priority by that many levels. The first `trial_tasks` tasks cost nothing.
    Up to `overdraft_max` credits may be held that are not there; the owner is told when fewer than
    `low_credits` are available.
    """

    name: str
    active_tasks_max: int = 10
    daily_tasks_max: int = 1_000
    weight: Annotated[int, Meta(ge=1, le=STRIDE)] = 1
    priority_raise: Annotated[int, Meta(ge=0, le=3)] = 0
    trial_tasks: Annotated[int, Meta(ge=0, le=COUNT_MAX)] = 0
    overdraft_max: Annotated[int, Meta(ge=0, le=CREDITS_MAX)] = 0
    low_credits: Annotated[int, Meta(ge=1, le=CREDITS_MAX)] | None = None

    @property
    def stride(self) -> int:
        """How far one task moves the account's next turn."""
        return STRIDE // self.weight


PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        plan.name: plan
        for plan in (
            Plan(name="standard"),
            Plan(
                name="enterprise",
                active_tasks_max=10_000,
                daily_tasks_max=1_000_000,
                weight=4,
                priority_raise=1,
            ),
            Plan(name="unlimited", active_tasks_max=COUNT_MAX, daily_tasks_max=COUNT_MAX),
        )
    }
)


def plan_named(name: str) -> Plan:
    """Raises `InvalidInput` for a plan that does not exist."""
    try:
        return PLANS[name]
    except KeyError:
        choice = ", ".join(sorted(PLANS))
        raise InvalidInput(
            "There is no such plan.", ("/plan", f"must be one of {choice}")
        ) from None
