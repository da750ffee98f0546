"""Why a task does not start yet, its place in the queue, and an estimate that invents nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from adapters.standing import AHEAD_TASKS_MAX, Standing

STARTS_IN_SECONDS_MAX = 366 * 86_400
Reason = Literal[
    "type_paused",
    "account_paused",
    "provider_paused",
    "provider_closed",
    "provider_rate",
    "provider_full",
    "type_full",
    "delayed",
    "backoff",
]
_PAUSES: frozenset[Reason] = frozenset({"type_paused", "account_paused", "provider_paused"})


class Throttle(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a task does not start now; `until` is when it ends, where that is known."""

    reason: Reason
    until: datetime | None = None


class QueuePlace(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks of the type that could start go before this one, and when its turn comes.

    `precision` says how `position` is meant: more may go before it than were counted (`at_least`),
    or it comes from figures some seconds old (`about`). `starts_in_seconds` follows from how fast
    tasks of the type were started lately, while any waited; null when that, or the end of a pause,
    is unknown.
    """

    position: Annotated[int, Meta(ge=0)]
    precision: Literal["exact", "at_least", "about"]
    starts_in_seconds: Annotated[int, Meta(ge=0)] | None


def throttles(standing: Standing) -> tuple[Throttle, ...]:
    """All that holds the task back, the most lasting first; none when only its turn is to come."""
    return tuple(_throttles(standing))


def _throttles(standing: Standing) -> Iterator[Throttle]:
    if standing.type_paused:
        yield Throttle(reason="type_paused")
    if standing.account_paused:
        yield Throttle(reason="account_paused")
    if standing.provider_paused:
        yield Throttle(reason="provider_paused")
    if standing.provider_closed_until is not None:
        yield Throttle(reason="provider_closed", until=standing.provider_closed_until)
    if standing.provider_next_start is not None:
        yield Throttle(reason="provider_rate", until=standing.provider_next_start)
    if standing.provider_full:
        yield Throttle(reason="provider_full")
    if standing.type_full:
        yield Throttle(reason="type_full")
    if standing.not_before is not None:
        yield Throttle(
            reason="backoff" if standing.backoff else "delayed", until=standing.not_before
        )


def place_of(standing: Standing) -> QueuePlace | None:
    """None for a task whose time has not come: it stands in no line yet."""
    if standing.not_before is not None:
        return None
    counted = min(standing.ahead, AHEAD_TASKS_MAX)
    return QueuePlace(
        position=counted,
        precision="exact" if standing.ahead <= AHEAD_TASKS_MAX else "at_least",
        starts_in_seconds=_starts_in(standing),
    )


def _starts_in(standing: Standing) -> int | None:
    if any(throttle.reason in _PAUSES for throttle in throttles(standing)):
        return None
    seconds = seconds_until(standing.ahead, standing.pace)
    closed_until = standing.provider_closed_until
    if seconds is None or closed_until is None:
        return seconds
    return max(seconds, math.ceil((closed_until - standing.now).total_seconds()))


def seconds_until(ahead: int, pace: float | None) -> int | None:
    """Whole seconds until it is the turn of one with so many before it, at this pace a second."""
    if pace is None or pace <= 0:
        return None
    return min(math.ceil((ahead + 1) / pace), STARTS_IN_SECONDS_MAX)
