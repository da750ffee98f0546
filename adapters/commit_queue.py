"""Commands that wait for their batch: in order, bounded, withdrawn when their caller goes away."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable

from adapters.decision import Committed, Decision
from domain.errors import AdapterError, Overloaded, ShuttingDown


class Pending:
    """A command and its caller's future; `since` is the monotonic second it came."""

    __slots__ = ("decision", "future", "since")

    def __init__(self, decision: Decision, future: asyncio.Future[Committed]) -> None:
        self.decision = decision
        self.future = future
        self.since = time.monotonic()

    def succeed(self, committed: Committed) -> None:
        """Answer the caller, unless it has gone or has its answer."""
        if not self.future.done():
            self.future.set_result(committed)

    def fail(self, error: BaseException) -> None:
        """Answer the caller with `error`, unless it has gone or has its answer."""
        if not self.future.done():
            self.future.set_exception(error)


class CommitQueue:
    """First in, first out; at most `commands_max` wait. Belongs to one event loop."""

    def __init__(self, commands_max: int) -> None:
        self.closed = False
        self._commands_max = commands_max
        self._waiting: OrderedDict[Pending, None] = OrderedDict()
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, decision: Decision) -> Pending:
        """Raises `Overloaded` when full and `ShuttingDown` when closed."""
        if self.closed:
            raise ShuttingDown("This process is shutting down.")
        if len(self._waiting) >= self._commands_max:
            raise Overloaded("The commit queue", self._commands_max)
        pending = Pending(decision, asyncio.get_running_loop().create_future())
        self._waiting[pending] = None
        self._arrived.set()
        return pending

    def withdraw(self, pending: Pending) -> None:
        """Its caller has gone: free its place, unless it was taken already."""
        self._waiting.pop(pending, None)

    async def take(self, commands_max: int) -> list[Pending]:
        """The next batch, when there is one; empty once the queue is closed and drained."""
        batch: list[Pending] = []
        while not batch:
            while not self._waiting:
                if self.closed:
                    return []
                self._arrived.clear()
                await self._arrived.wait()
            while self._waiting and len(batch) < commands_max:
                pending, _ = self._waiting.popitem(last=False)
                if not pending.future.done():
                    batch.append(pending)
        return batch

    def fail_overdue(self, since: float, error: AdapterError) -> None:
        """Answer those who have waited from before the monotonic second `since`."""
        overdue = []
        for pending in self._waiting:
            if pending.since >= since:
                break
            overdue.append(pending)
        for pending in overdue:
            del self._waiting[pending]
        fail_each(overdue, error)

    def close(self) -> None:
        """Take no more; what waits can still be taken."""
        self.closed = True
        self._arrived.set()

    def fail_rest(self, error: AdapterError) -> None:
        """Close, and answer all who still wait."""
        self.close()
        rest = list(self._waiting)
        self._waiting.clear()
        fail_each(rest, error)


def fail_each(batch: Iterable[Pending], error: AdapterError) -> None:
    """Each caller gets its own exception: one raised in many tasks gathers all their tracebacks."""
    for pending in batch:
        own = type(error)(*error.args)
        own.__cause__ = error.__cause__
        pending.fail(own)
