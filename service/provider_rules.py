"""What a process tells all others of its providers: their limits, and when one has refused."""

from __future__ import annotations

from uuid import UUID

from adapters.decision import Cursor, Find
from adapters.providers import ProviderLimits, declare_providers, find_closing
from domain.failure import Failure
from domain.retry import RETRY_AFTER_SECONDS_MAX
from service.task_types import TaskTypes


class ProviderRules:
    """Of the providers of this process's task types.

    `declared` is for who has committed what `declare` wrote.
    """

    def __init__(self, types: TaskTypes) -> None:
        self._types = types
        self.declared = False

    async def declare(self, cursor: Cursor) -> None:
        """Their limits hold for all processes from this one's first claim; quiet once declared."""
        if self.declared:
            return
        types = self._types
        limits = [
            ProviderLimits(p.name, p.running_tasks_max, p.starts_per_minute_max)
            for p in types.providers
        ]
        await declare_providers(cursor, limits, types.provider_names, types.names)

    def closing(
        self, task_id: UUID, token: int, failure: Failure, asked_seconds: float | None
    ) -> Find | None:
        """Closes the provider that has refused an attempt for its rate; None for other failures."""
        if failure.type != "rate_limited":
            return None

        def pause(type_: str, failures: int) -> float:
            if asked_seconds is not None:
                return min(asked_seconds, RETRY_AFTER_SECONDS_MAX)
            return self._types.retry_policy(type_).pause_seconds(failures + 1, 0.0)

        return find_closing(task_id, token, pause)
