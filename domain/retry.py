"""When a failed attempt is tried again: exponential pauses, jitter, a cap, the provider's word."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

ATTEMPTS_MAX = 3
"""Attempts of one run, the first one included, unless its type says otherwise."""
RETRY_AFTER_SECONDS_MAX = 3_600.0
"""A provider that asks for a longer pause than this is asked again after this."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The pauses between the attempts of one run.

    After the n-th failure: `first_seconds * factor ** (n - 1)`, at most `seconds_max`, of which the
    part `jitter` is left to chance.
    """

    first_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 5.0
    factor: Annotated[float, Meta(ge=1, le=10)] = 2.0
    seconds_max: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.5

    def pause_seconds(
        self, failures: int, chance: float, retry_after_seconds: float | None = None
    ) -> float:
        """Pause after the `failures`-th failure of a run; `chance` is random in [0, 1).

        Never shorter than what the provider asked for, up to `RETRY_AFTER_SECONDS_MAX`.
        """
        grown = self.first_seconds * self.factor ** min(failures - 1, 100)
        pause = min(grown, self.seconds_max) * (1 - self.jitter * chance)
        return max(pause, min(retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX))
