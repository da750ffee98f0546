"""One attempt of one task: what its handler sees, and what its ending is called."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import msgspec
from msgspec import Raw

from adapters.queue import Heartbeat
from domain.classification import classify
from domain.cleaning import clean_json
from domain.errors import InvalidInput, UnknownTaskType
from domain.failure import Failure, failure
from domain.task import Task
from tallystick.handler import Fetch, Handler, Objects, TaskCancelled, TaskFailure

RESULT_BYTES_MAX = 512 * 1024
"""Largest result of a task, as JSON."""


class StageReached(Protocol):
    """Records a stage as a fact in the log."""

    async def __call__(self, stage: str, percent: int) -> None: ...


class Attempt:
    """The `Context` of a handler: it satisfies `tallystick.handler.Context`.

    Fine progress is kept here until the worker's next heartbeat takes it along.
    """

    def __init__(
        self,
        task: Task,
        handler: Handler,
        *,
        scratch: Path | None,
        objects: Objects,
        fetch: Fetch,
        record_stage: StageReached,
    ) -> None:
        self.task_id: UUID = task.id
        self.account_id: UUID = task.account_id
        self.attempt: int = task.attempt
        self.objects = objects
        self.fetch = fetch
        self._handler = handler
        self._record_stage = record_stage
        self._token = task.token
        self._scratch = scratch
        self._folder: Path | None = None
        self._news: Heartbeat | None = None
        self.reached: str | None = None
        self.cancelled = False

    @property
    def folder(self) -> Path:
        """An empty scratch folder, made when it is first asked for and gone with the attempt."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="attempt-", dir=self._scratch))
        return self._folder

    async def clear(self) -> None:
        """Remove the scratch folder, if one was made."""
        if self._folder is not None:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True))

    async def stage(self, name: str) -> None:
        """Record that a stage was reached.

        Raises `TaskCancelled`, or `ValueError` for a stage unknown.
        """
        self._guard()
        percent = self._handler.stages.get(name)
        if percent is None:
            message = f"{self._handler.name} has no stage {name!r}"
            raise ValueError(message)
        self.reached = name
        await self._record_stage(name, percent)

    async def progress(
        self,
        percent: int,
        message: str = "",
        *,
        completed: int | None = None,
        total: int | None = None,
    ) -> None:
        """Keep the newest progress for the next heartbeat. Raises `TaskCancelled`."""
        self._guard()
        self._news = Heartbeat(
            task_id=self.task_id,
            token=self._token,
            percent=max(0, min(99, percent)),
            message=message[:500] or None,
            completed=completed,
            total=total,
        )

    @property
    def has_news(self) -> bool:
        return self._news is not None

    def heartbeat(self) -> Heartbeat:
        """The sign of life, with the progress since the last one."""
        news, self._news = self._news, None
        return news or Heartbeat(task_id=self.task_id, token=self._token)

    def _guard(self) -> None:
        if self.cancelled:
            raise TaskCancelled


class ThreadAttempt:
    """The same for a handler that runs in a thread: calls go to the event loop and wait for it."""

    def __init__(self, attempt: Attempt, loop: asyncio.AbstractEventLoop) -> None:
        self._attempt = attempt
        self._loop = loop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - passes on what the attempt has
        value = getattr(self._attempt, name)
        if not asyncio.iscoroutinefunction(value):
            return value
        return self._waiting(value)

    def _waiting(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def call(*values: object, **named: object) -> object:
            return await function(*values, **named)

        def wait(*values: object, **named: object) -> object:
            return asyncio.run_coroutine_threadsafe(call(*values, **named), self._loop).result()

        return wait


async def perform(handler: Handler, task_input: msgspec.Struct, attempt: Attempt) -> Raw:
    """Run the handler within its time and give its result, cleaned, as a JSON object.

    Raises whatever the handler raises, and `TimeoutError`.
    """
    assert handler.function is not None
    async with asyncio.timeout(handler.attempt_seconds_max):
        if handler.threaded:
            context = ThreadAttempt(attempt, asyncio.get_running_loop())
            result = await asyncio.to_thread(handler.function, task_input, context)
        else:
            result = await handler.function(task_input, attempt)
    return clean_result(handler, result)


def clean_result(handler: Handler, result: object) -> Raw:
    """What a handler returned, without anything that could make a write fail.

    Raises `TaskFailure`.
    """
    if not isinstance(result, handler.output_type):
        message = (
            f"{handler.name} returned {type(result).__name__}, not {handler.output_type.__name__}"
        )
        raise TypeError(message)
    data = msgspec.json.encode(clean_json(msgspec.to_builtins(result)))
    if len(data) > RESULT_BYTES_MAX:
        raise TaskFailure("internal", "The result of this task is too large to be kept.")
    return Raw(data)


def failure_of(error: BaseException, stage: str | None) -> Failure:
    """The one place where an exception becomes a failure, in words for user and operator."""
    detail = "".join(traceback.format_exception(error))[-6000:]
    if isinstance(error, TaskFailure):
        return failure(
            error.type, message=error.message, detail=detail, stage=stage, retryable=error.retryable
        )
    if isinstance(error, UnknownTaskType | InvalidInput):
        return failure("param_error", message=str(error), detail=detail, stage=stage)
    return failure(classify(error), detail=detail, stage=stage)
