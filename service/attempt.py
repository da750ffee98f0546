"""One attempt of one task: what its handler sees, and what its ending is called."""

from __future__ import annotations

import asyncio
import math
import shutil
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args
from uuid import UUID

import msgspec
from msgspec import Raw

from adapters.queue import Heartbeat
from adapters.scratch_folder import make_scratch_folder
from domain.classification import classify
from domain.cleaning import clean_count, clean_json, clean_text
from domain.errors import InvalidInput, UnknownTaskType
from domain.event import TEXT_LENGTH_MAX
from domain.failure import Failure, FailureType, failure
from domain.retry import RETRY_AFTER_SECONDS_MAX
from domain.task import Task
from service.containment import handler_at_work
from service.handler_threads import in_thread
from tallystick.handler import Fetch, Handler, HandlerFunction, Objects, TaskCancelled, TaskFailure

RESULT_BYTES_MAX = 512 * 1024
"""Largest result of a task, as JSON."""
PERCENT_MAX = 99
"""Of fine progress; 100 is left to the completion."""
MESSAGE_LENGTH_MAX = 500
CAUSE_LENGTH_MAX = 6_000
"""End of a traceback that is kept, in code points: what was raised stands there."""
_FAILURE_TYPES = frozenset(get_args(FailureType))


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
            self._folder = make_scratch_folder(self.task_id, self._token, self._scratch)
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
        """Keep the newest progress for the next heartbeat. Raises `TaskCancelled`.

        What cannot be kept is left out: a bad report costs nobody a lease. Others have their turn
        meanwhile: a handler that awaits nothing else would hold up all heartbeats.
        """
        self._guard()
        self._news = Heartbeat(
            task_id=self.task_id,
            token=self._token,
            percent=clean_count(percent, PERCENT_MAX),
            message=_text(message, MESSAGE_LENGTH_MAX),
            completed=clean_count(completed),
            total=clean_count(total),
        )
        await asyncio.sleep(0)

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
            result = await in_thread(partial(_called, handler.function, task_input, context))
        else:
            with handler_at_work():
                result = await handler.function(task_input, attempt)
    return clean_result(handler, result)


def _called(
    function: HandlerFunction, task_input: msgspec.Struct, context: ThreadAttempt
) -> object:
    """Run a handler in its thread. What ends generators cannot pass to whoever waits for it."""
    try:
        return function(task_input, context)
    except (StopIteration, GeneratorExit) as error:
        raise RuntimeError(f"the handler raised {type(error).__name__}") from error


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
    """The one place where an exception becomes a failure, in words for user and operator.

    Never raises, whatever was raised: what cannot be told is left out.
    """
    detail = _cause(error)
    if isinstance(error, TaskFailure):
        return _stated(error, detail, stage)
    if isinstance(error, UnknownTaskType | InvalidInput):
        return failure("param_error", message=str(error), detail=detail, stage=stage)
    return failure(_classified(error), detail=detail, stage=stage)


def retry_after_seconds_of(error: BaseException) -> float | None:
    """How long a provider asked to wait, says the handler; None when it said nothing sensible."""
    if not isinstance(error, TaskFailure) or error.retry_after_seconds is None:
        return None
    try:
        return float(max(0, min(math.ceil(error.retry_after_seconds), RETRY_AFTER_SECONDS_MAX)))
    except Exception:  # noqa: BLE001 - not finite, or no number at all
        return None


def _stated(error: TaskFailure, detail: str, stage: str | None) -> Failure:
    """In the handler's own words, as far as they are of the kind that is asked for."""
    return failure(
        error.type if _is_failure_type(error.type) else "unknown",
        message=_text(error.message, TEXT_LENGTH_MAX),
        detail=detail,
        stage=stage,
        retryable=_flag(error.retryable),
    )


def _text(said: object, length_max: int) -> str | None:
    return clean_text(said, length_max) or None if isinstance(said, str) else None


def _flag(said: object) -> bool | None:
    return said if isinstance(said, bool) else None


def _is_failure_type(said: object) -> bool:
    return isinstance(said, str) and said in _FAILURE_TYPES


def _cause(error: BaseException) -> str:
    """The end of the traceback; the class alone where an exception cannot be told."""
    try:
        return "".join(traceback.format_exception(error))[-CAUSE_LENGTH_MAX:]
    except BaseException:  # noqa: BLE001 - its own methods may raise anything; it may nest too deep
        return (
            f"{type(error).__module__}.{type(error).__qualname__}, whose traceback cannot be told"
        )


def _classified(error: BaseException) -> FailureType:
    try:
        return classify(error)
    except BaseException:  # noqa: BLE001 - its own methods may raise anything
        return "unknown"
