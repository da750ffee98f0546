"""What is left of a limit, told as `RateLimit` and `RateLimit-Policy` (an IETF draft)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from domain.errors import LimitReached
from domain.plan import Plan
from service.http.answer import Headers

DAY_SECONDS = 86_400
ACTIVE, DAILY = "active_tasks_max", "daily_tasks_max"
"""As refusals name them."""
COUNTED = frozenset({"submit_task", "retry_task", "start_group", "retry_group", "get_own_account"})
"""Routes whose answers tell what is left."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """`window_seconds` and `reset_seconds` only where a time gives the quota back."""

    name: str
    maximum: int
    remaining: int
    window_seconds: int | None = None
    reset_seconds: int | None = None

    @property
    def policy(self) -> str:
        window = "" if self.window_seconds is None else f";w={self.window_seconds}"
        return f'"{self.name}";q={self.maximum}{window}'

    @property
    def left(self) -> str:
        reset = "" if self.reset_seconds is None else f";t={self.reset_seconds}"
        return f'"{self.name}";r={self.remaining}{reset}'


def quotas_of(plan: Plan, *, active: int, today: int, at: datetime) -> tuple[Quota, Quota]:
    """Tasks that may be active at one time, and tasks of a UTC day."""
    return (
        Quota(
            name=ACTIVE,
            maximum=plan.active_tasks_max,
            remaining=max(0, plan.active_tasks_max - active),
        ),
        Quota(
            name=DAILY,
            maximum=plan.daily_tasks_max,
            remaining=max(0, plan.daily_tasks_max - today),
            window_seconds=DAY_SECONDS,
            reset_seconds=_until_tomorrow(at),
        ),
    )


def quota_reached(error: LimitReached) -> Quota:
    """The one that a request was refused for; of a day's, the time to wait is that to its end."""
    daily = error.limit == DAILY
    return Quota(
        name=error.limit,
        maximum=error.maximum,
        remaining=error.remaining,
        window_seconds=DAY_SECONDS if daily else None,
        reset_seconds=error.retry_after_seconds if daily else None,
    )


def rate_limit_headers(quotas: Iterable[Quota]) -> Headers:
    """Both headers, a member for each quota."""
    told = tuple(quotas)
    return [
        (b"ratelimit-policy", ", ".join(quota.policy for quota in told).encode()),
        (b"ratelimit", ", ".join(quota.left for quota in told).encode()),
    ]


def _until_tomorrow(at: datetime) -> int:
    """Whole seconds, rounded up."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return math.ceil((day + timedelta(days=1) - at).total_seconds())
