"""Waiting for something to end: how long yet, and what was last heard of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from tallystick import exchange
from tallystick.errors import LimitReached, Unavailable, Unreachable

POLL_SECONDS = 0.5
PASSING = (Unreachable, Unavailable, LimitReached)
"""What does not end the waiting for something that is known to exist."""


class Ending(Protocol):
    """What can be waited for."""

    @property
    def ended(self) -> bool: ...


E = TypeVar("E", bound=Ending)


class Waiting(Generic[E]):
    """One wait; `late(last state, seconds)` is what it ends with when the time is over."""

    def __init__(self, seconds: float, late: Callable[[E, float], Exception]) -> None:
        self._seconds = seconds
        self._late = late
        self.deadline = time.monotonic() + seconds
        self.last: E | None = None
        self._asked = 0.0
        self._ask = 0

    def ask(self) -> int:
        """Whole seconds that the service may hold its answer back."""
        self._asked = time.monotonic()
        left = self.deadline - self._asked
        self._ask = int(max(0, min(exchange.WAIT_SECONDS_MAX, left)))
        return self._ask

    def heard(self, state: E) -> E:
        self.last = state
        return state

    def missed(self, error: Exception) -> E:
        """The last state, since it goes on without us. Raises `error` when there is none."""
        if self.last is None:
            raise error
        return self.last

    def pause(self, seconds: float = POLL_SECONDS) -> float:
        """Seconds until it is worth asking again. Raises what is late past the deadline."""
        now = time.monotonic()
        if now >= self.deadline:
            assert self.last is not None
            raise self._late(self.last, self._seconds)
        held_back = self._ask > 0 and now - self._asked >= self._ask
        return 0.0 if held_back else min(seconds, self.deadline - now)
