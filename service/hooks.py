"""Told of what a worker does, for metrics, notices and the like of its owner; never in its way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any, Literal, TypeVar, cast, get_args

import msgspec
import structlog

from adapters.queue import Heartbeat
from domain.task import Task
from service.containment import ENDS

Moment = Literal[
    "active", "progress", "accepted", "completed", "failed", "retrying", "cancelled", "stalled"
]
MOMENTS: tuple[Moment, ...] = get_args(Moment)
Told = TypeVar("Told")
HOOK_SECONDS_MAX = 5.0
"""A hook that takes longer is left behind."""
_log = structlog.get_logger(__name__)


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to which task.

    `task` is its state after it, or at its start for `progress`, `accepted` (its endpoint goes on
    with it) and `stalled` (the worker lost its lease, and the task goes on without it). An end that
    others made is told as well: `failed` where the deadline passed. `progress` is set for
    `progress` alone.
    """

    moment: Moment
    worker: str
    task: Task
    progress: Heartbeat | None = None


Hook = Callable[[Notice], Awaitable[None] | None]


class Hooks:
    """Calls every hook with every notice. One that raises or hangs is logged, and nothing more."""

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks = tuple(hooks)
        self._calls: set[asyncio.Task[None]] = set()

    def tell(self, notice: Notice) -> None:
        """Start the hooks; returns at once."""
        for hook in self._hooks:
            call = asyncio.create_task(self._call(hook, notice))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def settle(self) -> None:
        """Wait for the hooks that are under way."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=HOOK_SECONDS_MAX)

    async def _call(self, hook: Hook, notice: Notice) -> None:
        try:
            await call_hook(hook, notice)
        except Exception:  # noqa: BLE001 - a hook may raise anything
            _log.exception("hook.failed", moment=notice.moment, task_id=str(notice.task.id))


async def call_hook(hook: Callable[[Told], Awaitable[None] | None], told: Told) -> None:
    """Call it, in a thread where it would block, for at most HOOK_SECONDS_MAX.

    What it raises is raised as an `Exception`: `sys.exit()` in it would end the event loop.
    """
    try:
        async with asyncio.timeout(HOOK_SECONDS_MAX):
            if inspect.iscoroutinefunction(hook):
                await hook(told)
            else:
                await asyncio.to_thread(hook, told)
    except ENDS as error:
        raise RuntimeError(f"the hook raised {type(error).__name__}") from error


def load_hooks(paths: Iterable[str]) -> list[Hook]:
    """Hooks by path, each `package.module:name`. Raises what the import raises, and `TypeError`."""
    return [load_function(path) for path in paths]


def load_function(path: str) -> Callable[..., Any]:
    """What `package.module:name` names. Raises what the import raises, and `TypeError`."""
    module, _, attribute = path.partition(":")
    function = getattr(import_module(module), attribute)
    if not callable(function):
        raise TypeError(f"{path} is not a function")
    return cast("Callable[..., Any]", function)
