"""What a handler starts may fail, not end the process: asyncio lets two kinds of errors do that.

A task that raises `SystemExit` or `KeyboardInterrupt` stops the event loop, and with it a worker
and all of its tasks. In the tasks that a handler makes, both become ordinary errors.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

ENDS = (SystemExit, KeyboardInterrupt)
"""What a task or a callback must not raise, or the loop ends."""
_of_handler: ContextVar[bool] = ContextVar("of_handler", default=False)


@contextmanager
def handler_at_work() -> Iterator[None]:
    """Whatever tasks are made meanwhile, here and by them, are the handler's."""
    before = _of_handler.set(True)
    try:
        yield
    finally:
        _of_handler.reset(before)


def contain_handlers(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop make handlers' tasks so that none of them ends it; once more changes nothing.

    A task factory that the loop has makes the tasks as before.
    """
    make = loop.get_task_factory() or asyncio.Task
    if isinstance(make, _TaskFactory):
        return
    loop.set_task_factory(_TaskFactory(make))


class _TaskFactory:
    def __init__(self, make: Any) -> None:  # noqa: ANN401 - a factory, or the class itself
        self._make = make

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Any,  # noqa: ANN401 - asyncio's
        **options: Any,  # noqa: ANN401
    ) -> asyncio.Task[Any]:
        contained = _of_handler.get() and inspect.isawaitable(work)
        coroutine = _Contained(work) if contained else work
        if self._make is asyncio.Task:
            return asyncio.Task(coroutine, loop=loop, **options)
        made: asyncio.Task[Any] = self._make(loop, coroutine, **options)
        return made


class _Contained(Coroutine[Any, Any, Any]):
    """The coroutine itself rather than one around it, which a cancelled task might never start."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def send(self, value: Any) -> Any:  # noqa: ANN401 - passes on
        try:
            return self._work.send(value)
        except ENDS as error:
            raise _harmless(error) from error

    def throw(self, *raised: Any) -> Any:  # noqa: ANN401 - passes on
        try:
            return self._work.throw(*raised)
        except ENDS as error:
            raise _harmless(error) from error

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what asyncio shows of a coroutine
        return getattr(self._work, name)


def _harmless(error: BaseException) -> RuntimeError:
    return RuntimeError(f"the handler raised {type(error).__name__}")
