"""The one clock: the database's, followed between readings by this process's monotonic counter."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """`now()` is the database's time (UTC), whatever happens to this machine's wall clock.

    Until the first reading it follows the wall clock. `follow` takes a reading: the database's time
    and the monotonic seconds around the question; a long answer is a poor reading and is not taken
    over a better one.
    """

    POOR_SECONDS = 0.05
    KEEP_SECONDS = 600.0

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at = datetime.now(UTC)
        self._mark = monotonic()
        self._read = False

    def now(self) -> datetime:
        return self._at + timedelta(seconds=self._monotonic() - self._mark)

    def follow(self, at: datetime, asked: float, answered: float) -> None:
        """Take the reading `at`, asked and answered at these monotonic seconds."""
        recent = answered - self._mark < self.KEEP_SECONDS
        if self._read and recent and answered - asked > self.POOR_SECONDS:
            return
        self._at = at.astimezone(UTC)
        self._mark = (asked + answered) / 2
        self._read = True
