"""What is left of a limit, told as `RateLimit` and `RateLimit-Policy` (an IETF draft)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from domain.errors import LimitReached
from domain.plan import Plan
from service.http.answer import Headers

DAY_SECONDS = 86_400
ACTIVE, DAILY = "active_tasks_max", "daily_tasks_max"
"""As refusals name them."""
_ACTIVE, _DAILY = ACTIVE.encode(), DAILY.encode()
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


def task_limit_headers(plan: Plan, *, active: int, today: int, at: datetime) -> Headers:
    """Both headers for the tasks that may be active at one time, and for those of a UTC day.

    Written with every submission, so without `Quota` in between.
    """
    active_max, daily_max = plan.active_tasks_max, plan.daily_tasks_max
    left = b'"%b";r=%d, "%b";r=%d;t=%d' % (
        *(_ACTIVE, max(0, active_max - active)),
        *(_DAILY, max(0, daily_max - today), _until_tomorrow(at)),
    )
    return [(b"ratelimit-policy", _policy(active_max, daily_max)), (b"ratelimit", left)]


@lru_cache(maxsize=1_000)
def _policy(active_max: int, daily_max: int) -> bytes:
    return b'"%b";q=%d, "%b";q=%d;w=%d' % (_ACTIVE, active_max, _DAILY, daily_max, DAY_SECONDS)


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


def quota_headers(quota: Quota) -> Headers:
    """Both headers for one quota."""
    return [(b"ratelimit-policy", quota.policy.encode()), (b"ratelimit", quota.left.encode())]


def _until_tomorrow(at: datetime) -> int:
    """Whole seconds, rounded up."""
    at = at.astimezone(UTC)
    return DAY_SECONDS - (at.hour * 60 + at.minute) * 60 - at.second
