"""What both clients ask of the service, each verb declared once: its arguments and its call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from tallystick import exchange
from tallystick.exchange import Call
from tallystick.handler import FailureType
from tallystick.models import (
    Account,
    BulkRetry,
    Grant,
    HistoryEntry,
    Hold,
    Plan,
    Priority,
    Quote,
    StatementLine,
    StatementSummary,
    Task,
    TaskStatus,
    TaskType,
)

P = ParamSpec("P")
T = TypeVar("T")


class Asked(NamedTuple, Generic[T]):
    """A call, and the type of its answer."""

    call: Call
    type: type[T]


class Listed(NamedTuple, Generic[T]):
    """A list that is read page by page, and the type of its items."""

    path: str
    query: Mapping[str, str | Sequence[str]]
    type: type[T]


class Caller(Protocol):
    """Calls and blocks."""

    def _call(self, call: Call, type_: type[T]) -> T: ...
    def _pages(
        self, path: str, query: Mapping[str, str | Sequence[str]], type_: type[T]
    ) -> Iterator[T]: ...


class AsyncCaller(Protocol):
    """Calls for asyncio."""

    async def _call(self, call: Call, type_: type[T]) -> T: ...
    def _pages(
        self, path: str, query: Mapping[str, str | Sequence[str]], type_: type[T]
    ) -> AsyncIterator[T]: ...


def calls(declare: Callable[Concatenate[Any, P], Asked[T]]) -> Callable[Concatenate[Caller, P], T]:
    """The verb of a `Caller`."""

    @wraps(declare)
    def verb(self: Caller, /, *given: P.args, **named: P.kwargs) -> T:
        return self._call(*declare(self, *given, **named))

    _show(verb, declare, "{}")
    return verb


def calls_async(
    declare: Callable[Concatenate[Any, P], Asked[T]],
) -> Callable[Concatenate[AsyncCaller, P], Coroutine[Any, Any, T]]:
    """The verb of an `AsyncCaller`."""

    @wraps(declare)
    async def verb(self: AsyncCaller, /, *given: P.args, **named: P.kwargs) -> T:
        return await self._call(*declare(self, *given, **named))

    _show(verb, declare, "{}")
    return verb


def lists(
    declare: Callable[Concatenate[Any, P], Listed[T]],
) -> Callable[Concatenate[Caller, P], Iterator[T]]:
    """The verb of a `Caller`, whose pages are read as their items are asked for."""

    @wraps(declare)
    def verb(self: Caller, /, *given: P.args, **named: P.kwargs) -> Iterator[T]:
        return self._pages(*declare(self, *given, **named))

    _show(verb, declare, "Iterator[{}]")
    return verb


def lists_async(
    declare: Callable[Concatenate[Any, P], Listed[T]],
) -> Callable[Concatenate[AsyncCaller, P], AsyncIterator[T]]:
    """The verb of an `AsyncCaller`, whose pages are read as their items are asked for."""

    @wraps(declare)
    def verb(self: AsyncCaller, /, *given: P.args, **named: P.kwargs) -> AsyncIterator[T]:
        return self._pages(*declare(self, *given, **named))

    _show(verb, declare, "AsyncIterator[{}]")
    return verb


def _show(verb: Callable[..., object], declare: Callable[..., object], answer: str) -> None:
    """Have `help` tell what the verb answers, of the type within what was declared."""
    shown = signature(declare)
    declared = str(shown.return_annotation).partition("[")[2].removesuffix("]")
    vars(verb)["__signature__"] = shown.replace(return_annotation=answer.format(declared))


class Verbs:
    """Those of an account and its tasks."""

    def submit(
        self,
        type: str,  # noqa: A002 - the field's name
        input: Mapping[str, Any] | msgspec.Struct,  # noqa: A002
        *,
        priority: Priority = "normal",
        project: str | None = None,
        not_before: datetime | None = None,
        cache: bool = True,
        idempotency_key: str | None = None,
    ) -> Asked[Task]:
        """Hold the type's price and queue the task.

        It comes back completed where a result of the same input could be reused; `cache=False` has
        it worked on anew.

        Without a key of your own each call is one submission; give one to make calls that repeat
        (after a crash of yours) the same submission, for 7 days.
        """
        body = exchange.submission(type, input, priority, project, not_before, cache=cache)
        return Asked(exchange.post("/v1/tasks", body, key=idempotency_key), Task)

    def get(self, task_id: str) -> Asked[Task]:
        """The task as it is now."""
        return Asked(exchange.get(exchange.task_path(task_id)), Task)

    def list(
        self,
        *,
        status: Sequence[TaskStatus] = (),
        type: str | None = None,  # noqa: A002 - the field's name
        project: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Listed[Task]:
        """The account's tasks that fit, newest first, read page by page as they are asked for."""
        query = exchange.filters(status, type, project, created_after, created_before)
        return Listed("/v1/tasks", query, Task)

    def cancel(
        self, task_id: str, *, reason: str = "", idempotency_key: str | None = None
    ) -> Asked[Task]:
        """Cancel a queued task at once, or ask the worker of a running one to stop."""
        path = exchange.task_path(task_id, "cancel")
        return Asked(exchange.post(path, {"reason": reason}, key=idempotency_key), Task)

    def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Asked[Task]:
        """Run a failed task again, with a new hold."""
        path = exchange.task_path(task_id, "retry")
        return Asked(exchange.post(path, {}, key=idempotency_key), Task)

    def retry_failed(  # noqa: PLR0913 - each is a condition
        self,
        tasks: Sequence[str] = (),
        *,
        type: Sequence[str] = (),  # noqa: A002 - the field's name
        project: str | None = None,
        failure_type: Sequence[FailureType] = (),
        failed_after: datetime | None = None,
        failed_before: datetime | None = None,
        tasks_max: int = exchange.RETRIES_MAX,
        preview: bool = False,
        idempotency_key: str | None = None,
    ) -> Asked[BulkRetry]:
        """Retry as many failed tasks as credits and limits allow, the first to fail first.

        Those named, else those that fit; with `preview` it is only told what would be.
        """
        body = exchange.retries(
            tasks,
            type,
            project,
            failure_type,
            failed_after,
            failed_before,
            tasks_max,
            preview=preview,
        )
        return Asked(exchange.post("/v1/tasks/retries", body, key=idempotency_key), BulkRetry)

    def history(self, task_id: str) -> Listed[HistoryEntry]:
        """The facts of the task's life, in order."""
        return Listed(exchange.task_path(task_id, "history"), {}, HistoryEntry)

    def account(self, *, at: int | datetime | None = None) -> Asked[Account]:
        """The key's own account and its balance.

        With `at`, a version or a time, it is what it was then, with grants and holds in `as_of`.
        """
        return Asked(exchange.get("/v1/account", exchange.as_of(at)), Account)

    def statement(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Listed[StatementLine]:
        """The account's movements of credits, newest first.

        Of a `period`, a month (UTC) such as 2026-11, or with `since` <= at < `until`.
        """
        query = exchange.period_query(period, since, until)
        return Listed("/v1/account/statement", query, StatementLine)

    def statement_summary(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Asked[StatementSummary]:
        """What the account had at the begin and end of that time, and the totals between."""
        query = exchange.period_query(period, since, until)
        call = exchange.get("/v1/account/statement/summary", query)
        return Asked(call, StatementSummary)

    def grants(self) -> Listed[Grant]:
        """The account's grants with credits left, in the order in which they are spent."""
        return Listed("/v1/account/grants", {}, Grant)

    def holds(self) -> Listed[Hold]:
        """The account's open holds, by their ids."""
        return Listed("/v1/account/holds", {}, Hold)

    def quote(
        self,
        type: str,  # noqa: A002 - the field's name
        input: Mapping[str, Any] | msgspec.Struct,  # noqa: A002
        *,
        priority: Priority = "normal",
        cache: bool = True,
    ) -> Asked[Quote]:
        """What a task would cost, and whether it would be accepted now; nothing is held."""
        body = exchange.submission(type, input, priority, None, None, cache=cache)
        return Asked(exchange.post("/v1/quotes", body, key=None), Quote)

    def task_types(self) -> Listed[TaskType]:
        """What can be submitted."""
        return Listed("/v1/task-types", {}, TaskType)

    def plans(self) -> Listed[Plan]:
        """What accounts are allowed, plan by plan."""
        return Listed("/v1/plans", {}, Plan)
