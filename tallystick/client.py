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

from tallystick import exchange
from tallystick.errors import ApiError, Unreachable, WaitTimeout
from tallystick.exchange import Address, Call, RetryPolicy
from tallystick.groups import AsyncGroups, Groups
from tallystick.live import follow, follow_async
from tallystick.models import Page, StreamEvent, Task
from tallystick.pieces import Reading, pieces, pieces_async
from tallystick.schedules import AsyncSchedules, Schedules
from tallystick.stream import Following
from tallystick.verbs import Verbs, calls, calls_async, lists, lists_async
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

    submit = calls(Verbs.submit)
    get = calls(Verbs.get)
    list = lists(Verbs.list)
    cancel = calls(Verbs.cancel)
    retry = calls(Verbs.retry)
    retry_failed = calls(Verbs.retry_failed)
    history = lists(Verbs.history)
    account = calls(Verbs.account)
    statement = lists(Verbs.statement)
    statement_summary = calls(Verbs.statement_summary)
    grants = lists(Verbs.grants)
    holds = lists(Verbs.holds)
    quote = calls(Verbs.quote)
    task_types = lists(Verbs.task_types)
    plans = lists(Verbs.plans)

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

    submit = calls_async(Verbs.submit)
    get = calls_async(Verbs.get)
    list = lists_async(Verbs.list)
    cancel = calls_async(Verbs.cancel)
    retry = calls_async(Verbs.retry)
    retry_failed = calls_async(Verbs.retry_failed)
    history = lists_async(Verbs.history)
    account = calls_async(Verbs.account)
    statement = lists_async(Verbs.statement)
    statement_summary = calls_async(Verbs.statement_summary)
    grants = lists_async(Verbs.grants)
    holds = lists_async(Verbs.holds)
    quote = calls_async(Verbs.quote)
    task_types = lists_async(Verbs.task_types)
    plans = lists_async(Verbs.plans)

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
