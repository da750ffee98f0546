"""The service's verbs as methods, for threads (`Client`) and for asyncio (`AsyncClient`).

Every call is bounded in time and repeated after transient failures, commands always with the same
Idempotency-Key, so that one call has one effect. Both raise what `tallystick.errors` lists.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Event
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from tallystick import exchange
from tallystick.errors import ApiError, Unreachable, WaitTimeout
from tallystick.exchange import Address, Call, RetryPolicy
from tallystick.groups import AsyncGroups, Groups
from tallystick.handler import FailureType
from tallystick.live import follow, follow_async
from tallystick.models import (
    Account,
    BulkRetry,
    Grant,
    HistoryEntry,
    Hold,
    Page,
    Plan,
    Priority,
    Quote,
    StatementLine,
    StatementSummary,
    StreamEvent,
    Task,
    TaskStatus,
    TaskType,
)
from tallystick.pieces import Reading, pieces, pieces_async
from tallystick.schedules import AsyncSchedules, Schedules
from tallystick.stream import Following
from tallystick.waiting import PASSING, POLL_SECONDS, E, Waiting

T = TypeVar("T")
CONNECT_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 30.0


class Client:
    """Calls the service and blocks. May be shared by threads; close it, or use it with `with`.

    Without `url` or `api_key` those of the environment are taken (TALLYSTICK_URL,
    TALLYSTICK_API_KEY). Raises `InvalidArgument` when they are missing or malformed.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = ANSWER_SECONDS_MAX,
        retries: RetryPolicy | None = None,
    ) -> None:
        address = Address.found(url, api_key)
        self.url = address.url
        self._timeout_seconds = timeout_seconds
        self._retries = retries or RetryPolicy()
        self._http = httpx.Client(
            base_url=address.url, headers=address.headers, mounts=address.direct
        )
        self._closed = Event()
        self.schedules = Schedules(self._call, self._pages)
        self.groups = Groups(self._call, self._pages, self._wait, self._watch)

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
    ) -> Task:
        """Hold the type's price and queue the task.

        It comes back completed where a result of the same input could be reused; `cache=False` has
        it worked on anew.

        Without a key of your own each call is one submission; give one to make calls that repeat
        (after a crash of yours) the same submission, for 7 days.
        """
        body = exchange.submission(type, input, priority, project, not_before, cache=cache)
        return self._call(exchange.post("/v1/tasks", body, key=idempotency_key), Task)

    def get(self, task_id: str) -> Task:
        """The task as it is now."""
        return self._call(exchange.get(exchange.task_path(task_id)), Task)

    def wait(self, task_id: str, *, timeout_seconds: float) -> Task:
        """The task when it has ended, in whatever way. Raises `WaitTimeout` with its last state."""
        waiting = Waiting(timeout_seconds, WaitTimeout)
        return self._wait(exchange.task_path(task_id), Task, waiting)

    def watch(
        self, task_id: str, *, timeout_seconds: float, poll_seconds: float = POLL_SECONDS
    ) -> Iterator[Task]:
        """The task now and at each change seen, to its end. Raises `WaitTimeout`."""
        waiting = Waiting(timeout_seconds, WaitTimeout)
        return self._watch(exchange.task_path(task_id), Task, waiting, poll_seconds)

    def stream(self, task_id: str, *, timeout_seconds: float) -> Iterator[StreamEvent]:
        """The task's present state, then live each of its facts once, and progress, to its end.

        Goes on by itself where the connection is lost. Raises `WaitTimeout`; a quiet stream may
        notice up to 15 s late that the time is over.
        """
        path = exchange.task_path(task_id, "events")
        following = Following(path, timeout_seconds, self._retries, to_end=True)
        return follow(self._http, following, self._pause)

    def events(
        self, *, after: int | None = None, timeout_seconds: float | None = None
    ) -> Iterator[StreamEvent]:
        """The account's present state, then live each fact of its tasks and credits, and progress.

        With `after`, the position of an event of before, instead each fact past it. Ends with the
        time, if there is one, or when you stop.
        """
        following = Following(
            "/v1/events", timeout_seconds, self._retries, to_end=False, after=after
        )
        return follow(self._http, following, self._pause)

    def list(
        self,
        *,
        status: Sequence[TaskStatus] = (),
        type: str | None = None,  # noqa: A002 - the field's name
        project: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[Task]:
        """The account's tasks that fit, newest first, read page by page as they are asked for."""
        query = exchange.filters(status, type, project, created_after, created_before)
        return self._pages("/v1/tasks", query, Task)

    def cancel(self, task_id: str, *, reason: str = "", idempotency_key: str | None = None) -> Task:
        """Cancel a queued task at once, or ask the worker of a running one to stop."""
        path = exchange.task_path(task_id, "cancel")
        return self._call(exchange.post(path, {"reason": reason}, key=idempotency_key), Task)

    def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Run a failed task again, with a new hold."""
        path = exchange.task_path(task_id, "retry")
        return self._call(exchange.post(path, {}, key=idempotency_key), Task)

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
    ) -> BulkRetry:
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
        return self._call(exchange.post("/v1/tasks/retries", body, key=idempotency_key), BulkRetry)

    def history(self, task_id: str) -> Iterator[HistoryEntry]:
        """The facts of the task's life, in order."""
        return self._pages(exchange.task_path(task_id, "history"), {}, HistoryEntry)

    def account(self, *, at: int | datetime | None = None) -> Account:
        """The key's own account and its balance.

        With `at`, a version or a time, it is what it was then, with grants and holds in `as_of`.
        """
        return self._call(exchange.get("/v1/account", exchange.as_of(at)), Account)

    def statement(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[StatementLine]:
        """The account's movements of credits, newest first.

        Of a `period`, a month (UTC) such as 2026-11, or with `since` <= at < `until`.
        """
        query = exchange.period_query(period, since, until)
        return self._pages("/v1/account/statement", query, StatementLine)

    def statement_summary(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> StatementSummary:
        """What the account had at the begin and end of that time, and the totals between."""
        query = exchange.period_query(period, since, until)
        call = exchange.get("/v1/account/statement/summary", query)
        return self._call(call, StatementSummary)

    def statement_csv(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[bytes]:
        """The statement as CSV (UTF-8), oldest first, in pieces: write them one after the other.

        Raises `Unreachable` where it breaks off, so that what came is not taken for all of it.
        """
        query = exchange.period_query(period, since, until)
        return self._pieces(exchange.get("/v1/account/statement.csv", query))

    def grants(self) -> Iterator[Grant]:
        """The account's grants with credits left, in the order in which they are spent."""
        return self._pages("/v1/account/grants", {}, Grant)

    def holds(self) -> Iterator[Hold]:
        """The account's open holds, by their ids."""
        return self._pages("/v1/account/holds", {}, Hold)

    def quote(
        self,
        type: str,  # noqa: A002 - the field's name
        input: Mapping[str, Any] | msgspec.Struct,  # noqa: A002
        *,
        priority: Priority = "normal",
        cache: bool = True,
    ) -> Quote:
        """What a task would cost, and whether it would be accepted now; nothing is held."""
        body = exchange.submission(type, input, priority, None, None, cache=cache)
        return self._call(exchange.post("/v1/quotes", body, key=None), Quote)

    def task_types(self) -> Iterator[TaskType]:
        """What can be submitted."""
        return self._pages("/v1/task-types", {}, TaskType)

    def plans(self) -> Iterator[Plan]:
        """What accounts are allowed, plan by plan."""
        return self._pages("/v1/plans", {}, Plan)

    def close(self) -> None:
        """Let go of the connections; calls that are pausing end with `Unreachable`."""
        self._closed.set()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pages(
        self, path: str, query: Mapping[str, str | Sequence[str]], type_: type[T]
    ) -> Iterator[T]:
        cursor: str | None = None
        while True:
            page = self._call(exchange.get(path, exchange.page_query(query, cursor)), Page)
            yield from exchange.items(page, type_)
            cursor = page.next_cursor
            if cursor is None:
                return

    def _pieces(self, call: Call) -> Iterator[bytes]:
        reading = Reading(self.url, self._retries)
        return pieces(self._http, _request(call, self._timeout_seconds), reading, self._pause)

    def _wait(self, path: str, type_: type[E], waiting: Waiting[E]) -> E:
        """What is at `path`, when it has ended."""
        while True:
            call = exchange.get(path, wait_seconds=waiting.ask())
            try:
                last = waiting.heard(self._call(call, type_, waiting.deadline))
            except PASSING as error:
                last = waiting.missed(error)
            if last.ended:
                return last
            self._pause(waiting.pause())

    def _watch(
        self, path: str, type_: type[E], waiting: Waiting[E], poll_seconds: float
    ) -> Iterator[E]:
        """What is at `path`, now and at each change seen, to its end."""
        call = exchange.get(path)
        while True:
            before = waiting.last
            try:
                last = waiting.heard(self._call(call, type_, waiting.deadline))
            except PASSING as error:
                last = waiting.missed(error)
            if last != before:
                yield last
            if last.ended:
                return
            self._pause(waiting.pause(poll_seconds))

    def _call(self, call: Call, type_: type[T], deadline: float | None = None) -> T:
        retry = 0
        while True:
            try:
                return exchange.read(self._send(call), type_)
            except (ApiError, Unreachable) as error:
                pause = self._retries.pause(error, retry)
                if pause is None or (deadline and time.monotonic() + pause > deadline):
                    raise
            self._pause(pause)
            retry += 1

    def _send(self, call: Call) -> httpx.Response:
        request = self._http.build_request(**_request(call, self._timeout_seconds))
        try:
            return self._http.send(request)
        except httpx.HTTPError as error:
            raise exchange.unreachable(self.url, error) from error

    def _pause(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise Unreachable("This client is closed.", transient=False)


class AsyncClient:
    """The same for asyncio; close it with `aclose()`, or use it with `async with`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = ANSWER_SECONDS_MAX,
        retries: RetryPolicy | None = None,
    ) -> None:
        address = Address.found(url, api_key)
        self.url = address.url
        self._timeout_seconds = timeout_seconds
        self._retries = retries or RetryPolicy()
        self._http = httpx.AsyncClient(
            base_url=address.url, headers=address.headers, mounts=address.direct
        )
        self.schedules = AsyncSchedules(self._call, self._pages)
        self.groups = AsyncGroups(self._call, self._pages, self._wait, self._watch)

    async def submit(
        self,
        type: str,  # noqa: A002 - the field's name
        input: Mapping[str, Any] | msgspec.Struct,  # noqa: A002
        *,
        priority: Priority = "normal",
        project: str | None = None,
        not_before: datetime | None = None,
        cache: bool = True,
        idempotency_key: str | None = None,
    ) -> Task:
        """As `Client.submit`."""
        body = exchange.submission(type, input, priority, project, not_before, cache=cache)
        return await self._call(exchange.post("/v1/tasks", body, key=idempotency_key), Task)

    async def get(self, task_id: str) -> Task:
        """The task as it is now."""
        return await self._call(exchange.get(exchange.task_path(task_id)), Task)

    async def wait(self, task_id: str, *, timeout_seconds: float) -> Task:
        """The task when it has ended, in whatever way. Raises `WaitTimeout` with its last state."""
        waiting = Waiting(timeout_seconds, WaitTimeout)
        return await self._wait(exchange.task_path(task_id), Task, waiting)

    def watch(
        self, task_id: str, *, timeout_seconds: float, poll_seconds: float = POLL_SECONDS
    ) -> AsyncIterator[Task]:
        """The task now and at each change seen, to its end. Raises `WaitTimeout`."""
        waiting = Waiting(timeout_seconds, WaitTimeout)
        return self._watch(exchange.task_path(task_id), Task, waiting, poll_seconds)

    def stream(self, task_id: str, *, timeout_seconds: float) -> AsyncIterator[StreamEvent]:
        """The task's present state, then live each of its facts once, and progress, to its end.

        Goes on by itself where the connection is lost. Raises `WaitTimeout`.
        """
        path = exchange.task_path(task_id, "events")
        following = Following(path, timeout_seconds, self._retries, to_end=True)
        return follow_async(self._http, following)

    def events(
        self, *, after: int | None = None, timeout_seconds: float | None = None
    ) -> AsyncIterator[StreamEvent]:
        """The account's present state, then live each fact of its tasks and credits, and progress.

        With `after`, the position of an event of before, instead each fact past it. Ends with the
        time, if there is one, or when you stop.
        """
        following = Following(
            "/v1/events", timeout_seconds, self._retries, to_end=False, after=after
        )
        return follow_async(self._http, following)

    def list(
        self,
        *,
        status: Sequence[TaskStatus] = (),
        type: str | None = None,  # noqa: A002 - the field's name
        project: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> AsyncIterator[Task]:
        """The account's tasks that fit, newest first, read page by page as they are asked for."""
        query = exchange.filters(status, type, project, created_after, created_before)
        return self._pages("/v1/tasks", query, Task)

    async def cancel(
        self, task_id: str, *, reason: str = "", idempotency_key: str | None = None
    ) -> Task:
        """Cancel a queued task at once, or ask the worker of a running one to stop."""
        path = exchange.task_path(task_id, "cancel")
        return await self._call(exchange.post(path, {"reason": reason}, key=idempotency_key), Task)

    async def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Run a failed task again, with a new hold."""
        path = exchange.task_path(task_id, "retry")
        return await self._call(exchange.post(path, {}, key=idempotency_key), Task)

    async def retry_failed(  # noqa: PLR0913 - each is a condition
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
    ) -> BulkRetry:
        """As `Client.retry_failed`."""
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
        return await self._call(
            exchange.post("/v1/tasks/retries", body, key=idempotency_key), BulkRetry
        )

    def history(self, task_id: str) -> AsyncIterator[HistoryEntry]:
        """The facts of the task's life, in order."""
        return self._pages(exchange.task_path(task_id, "history"), {}, HistoryEntry)

    async def account(self, *, at: int | datetime | None = None) -> Account:
        """The key's own account and its balance.

        With `at`, a version or a time, it is what it was then, with grants and holds in `as_of`.
        """
        return await self._call(exchange.get("/v1/account", exchange.as_of(at)), Account)

    def statement(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[StatementLine]:
        """The account's movements of credits, newest first.

        Of a `period`, a month (UTC) such as 2026-11, or with `since` <= at < `until`.
        """
        query = exchange.period_query(period, since, until)
        return self._pages("/v1/account/statement", query, StatementLine)

    async def statement_summary(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> StatementSummary:
        """What the account had at the begin and end of that time, and the totals between."""
        query = exchange.period_query(period, since, until)
        call = exchange.get("/v1/account/statement/summary", query)
        return await self._call(call, StatementSummary)

    def statement_csv(
        self,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[bytes]:
        """The statement as CSV (UTF-8), oldest first, in pieces: write them one after the other.

        Raises `Unreachable` where it breaks off, so that what came is not taken for all of it.
        """
        query = exchange.period_query(period, since, until)
        return self._pieces(exchange.get("/v1/account/statement.csv", query))

    def grants(self) -> AsyncIterator[Grant]:
        """The account's grants with credits left, in the order in which they are spent."""
        return self._pages("/v1/account/grants", {}, Grant)

    def holds(self) -> AsyncIterator[Hold]:
        """The account's open holds, by their ids."""
        return self._pages("/v1/account/holds", {}, Hold)

    async def quote(
        self,
        type: str,  # noqa: A002 - the field's name
        input: Mapping[str, Any] | msgspec.Struct,  # noqa: A002
        *,
        priority: Priority = "normal",
        cache: bool = True,
    ) -> Quote:
        """What a task would cost, and whether it would be accepted now; nothing is held."""
        body = exchange.submission(type, input, priority, None, None, cache=cache)
        return await self._call(exchange.post("/v1/quotes", body, key=None), Quote)

    def task_types(self) -> AsyncIterator[TaskType]:
        """What can be submitted."""
        return self._pages("/v1/task-types", {}, TaskType)

    def plans(self) -> AsyncIterator[Plan]:
        """What accounts are allowed, plan by plan."""
        return self._pages("/v1/plans", {}, Plan)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _pages(
        self, path: str, query: Mapping[str, str | Sequence[str]], type_: type[T]
    ) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self._call(exchange.get(path, exchange.page_query(query, cursor)), Page)
            for item in exchange.items(page, type_):
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return

    def _pieces(self, call: Call) -> AsyncIterator[bytes]:
        reading = Reading(self.url, self._retries)
        return pieces_async(self._http, _request(call, self._timeout_seconds), reading)

    async def _wait(self, path: str, type_: type[E], waiting: Waiting[E]) -> E:
        """What is at `path`, when it has ended."""
        while True:
            call = exchange.get(path, wait_seconds=waiting.ask())
            try:
                last = waiting.heard(await self._call(call, type_, waiting.deadline))
            except PASSING as error:
                last = waiting.missed(error)
            if last.ended:
                return last
            await asyncio.sleep(waiting.pause())

    async def _watch(
        self, path: str, type_: type[E], waiting: Waiting[E], poll_seconds: float
    ) -> AsyncIterator[E]:
        """What is at `path`, now and at each change seen, to its end."""
        call = exchange.get(path)
        while True:
            before = waiting.last
            try:
                last = waiting.heard(await self._call(call, type_, waiting.deadline))
            except PASSING as error:
                last = waiting.missed(error)
            if last != before:
                yield last
            if last.ended:
                return
            await asyncio.sleep(waiting.pause(poll_seconds))

    async def _call(self, call: Call, type_: type[T], deadline: float | None = None) -> T:
        retry = 0
        while True:
            try:
                return exchange.read(await self._send(call), type_)
            except (ApiError, Unreachable) as error:
                pause = self._retries.pause(error, retry)
                if pause is None or (deadline and time.monotonic() + pause > deadline):
                    raise
            await asyncio.sleep(pause)
            retry += 1

    async def _send(self, call: Call) -> httpx.Response:
        request = self._http.build_request(**_request(call, self._timeout_seconds))
        try:
            return await self._http.send(request)
        except httpx.HTTPError as error:
            raise exchange.unreachable(self.url, error) from error


def _request(call: Call, timeout_seconds: float) -> dict[str, Any]:
    """Arguments of httpx's `build_request`."""
    seconds = timeout_seconds + call.wait_seconds
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.query) or None,
        "headers": dict(call.headers),
        "content": call.body,
        "timeout": httpx.Timeout(seconds, connect=min(CONNECT_SECONDS_MAX, seconds)),
    }
