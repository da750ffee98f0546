"""What a plan allows an account; plans are data, looked up by name when a command is decided."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from domain.errors import InvalidInput
from domain.event import COUNT_MAX


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`active_tasks_max` bounds the open holds, `daily_tasks_max` the holds made in a UTC day."""

    name: str
    active_tasks_max: int = 10
    daily_tasks_max: int = 1_000


PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        plan.name: plan
        for plan in (
            Plan(name="standard"),
            Plan(name="enterprise", active_tasks_max=10_000, daily_tasks_max=1_000_000),
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
