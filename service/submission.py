"""Tasks as their users ask for them, and what that comes to: an input read, a price, a result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters.stored_bytes import StoredBytes
from domain import task
from domain.errors import InvalidInput
from service.content_key import content_key
from service.identifiers import new_id
from service.pricing import Pricing
from service.result_reuse import ResultReuse, Submittal
from service.task_types import TaskTypes

SUBMISSIONS_MAX = 1_000
"""Most tasks that are submitted at once."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its user asks for it: `input` a JSON object, `priority` a key of `PRIORITIES`.

    Without `cache` it is worked on even where a result could be reused.
    """

    task_id: UUID
    account_id: UUID
    type: str
    input: Raw
    priority: str = "normal"
    project: str | None = None
    not_before: datetime | None = None
    cache: bool = True


class Submissions:
    """How submissions are carried out today.

    Every method raises `UnknownTaskType` and `InvalidInput`.
    """

    def __init__(
        self,
        types: TaskTypes,
        pricing: Pricing,
        reuse: ResultReuse,
        stored: StoredBytes | None = None,
    ) -> None:
        self._types = types
        self._pricing = pricing
        self._reuse = reuse
        self._stored = stored

    async def submittals(self, submissions: Sequence[Submission]) -> list[Submittal]:
        """Each with its price, maybe by a result that is there; at most `SUBMISSIONS_MAX`.

        One look for all; tasks of types without a cache, and those that ask for none, cost none.
        Raises `Unavailable` where results are looked for, or what the account stores.
        """
        if len(submissions) > SUBMISSIONS_MAX:
            detail = f"must be at most {SUBMISSIONS_MAX}"
            raise InvalidInput("Too many tasks at once.", ("", detail))
        submittals = await self._reuse.submittals(
            [(self.command(submission), submission.cache) for submission in submissions]
        )
        return [
            await self._with_stored(one) if self._stored and self._stores(one) else one
            for one in submittals
        ]

    def _stores(self, submittal: Submittal) -> bool:
        """Whether the task may store more than there is; a result taken over may not."""
        return submittal.reuse is None and self._types.named(submittal.command.type).stores

    async def _with_stored(self, submittal: Submittal) -> Submittal:
        """With what the account stores; one look for each, as only plans with a limit have it."""
        assert self._stored is not None
        command = submittal.command
        usage = await self._stored.usage(command.account_id)
        stored_bytes = None if usage is None else usage.stored_bytes
        return replace(submittal, command=replace(command, stored_bytes=stored_bytes))

    async def submittal(self, submission: Submission) -> Submittal:
        """The same for one."""
        [submittal] = await self.submittals([submission])
        return submittal

    def command(self, submission: Submission) -> task.SubmitTask:
        """What a submission comes to without reuse, with its type's price."""
        handler = self._types.named(submission.type)
        task_input = self._types.read_input(submission.type, submission.input)
        terms = self._pricing.estimate(handler, task_input).terms
        return task.SubmitTask(
            task_id=submission.task_id,
            account_id=submission.account_id,
            type=submission.type,
            input=submission.input,
            hold_id=new_id(),
            credits=terms.credits,
            price_version=terms.price_version,
            attempts_max=handler.attempts_max,
            queue_seconds_max=handler.queue_seconds_max,
            run_seconds_max=handler.run_seconds_max,
            priority=task.PRIORITIES.get(submission.priority, -1),
            project=submission.project,
            not_before=submission.not_before,
            content_key=content_key(handler, submission.account_id, task_input),
            operator=handler.operator,
        )
