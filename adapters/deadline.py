"""A wait for something outside has a named limit, also where nothing signals its end."""

from __future__ import annotations

import threading
import time

PAUSE_SECONDS = 0.02


class Deadline:
    """Bounds a loop that looks again and again; blocks its thread, so keep it off event loops."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    @property
    def remaining_seconds(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def pause(self) -> bool:
        """Wait a moment; False, at once, when the time is up."""
        remaining = self.remaining_seconds
        if remaining:
            threading.Event().wait(min(PAUSE_SECONDS, remaining))
        return remaining > 0
