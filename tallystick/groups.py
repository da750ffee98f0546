"""The groups of an account: several tasks started, paid and ended as one.

Reached as `client.groups`; errors and repetition are those of the client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tallystick import exchange
from tallystick.errors import GroupWaitTimeout, InvalidArgument
from tallystick.exchange import Call
from tallystick.models import Group, GroupStatus, HistoryEntry, Priority
from tallystick.waiting import POLL_SECONDS, Waiting

_PATH = "/v1/groups"
Member = tuple[str, Mapping[str, Any] | msgspec.Struct]
"""A task type and the input of its task."""
Query = Mapping[str, str | Sequence[str]]


class Groups:
    """For `Client`."""

    def __init__(
        self,
        call: Callable[[Call, type[Group]], Group],
        pages: Callable[[str, Query, type[Any]], Iterator[Any]],
        wait: Callable[[str, type[Group], Waiting[Group]], Group],
        watch: Callable[[str, type[Group], Waiting[Group], float], Iterator[Group]],
    ) -> None:
        self._call = call
        self._pages = pages
        self._wait = wait
        self._watch = watch

    def start(
        self,
        kind: str,
        members: Sequence[Member] = (),
        *,
        input: Mapping[str, Any] | msgspec.Struct | None = None,  # noqa: A002 - the field's name
        key: str | None = None,
        priority: Priority = "normal",
        project: str | None = None,
        parallel_max: int | None = None,
        idempotency_key: str | None = None,
    ) -> Group:
        """Hold the price of all members and queue the first: `members`, or those of an `input`.

        With a `key` of your own, one group of it is at work or done; it is given again.
        """
        body = _body(kind, members, input, key, priority, project, parallel_max)
        return self._call(exchange.post(_PATH, body, key=idempotency_key), Group)

    def get(self, group_id: str) -> Group:
        """The group as it is now, with its members."""
        return self._call(exchange.get(exchange.resource_path(_PATH, group_id)), Group)

    def wait(self, group_id: str, *, timeout_seconds: float) -> Group:
        """The group when it has ended, in whatever way.

        Raises `GroupWaitTimeout` with its last state.
        """
        waiting = Waiting(timeout_seconds, GroupWaitTimeout)
        return self._wait(exchange.resource_path(_PATH, group_id), Group, waiting)

    def watch(
        self, group_id: str, *, timeout_seconds: float, poll_seconds: float = POLL_SECONDS
    ) -> Iterator[Group]:
        """The group now and at each change seen, to its end. Raises `GroupWaitTimeout`."""
        waiting = Waiting(timeout_seconds, GroupWaitTimeout)
        return self._watch(exchange.resource_path(_PATH, group_id), Group, waiting, poll_seconds)

    def list(
        self,
        *,
        status: Sequence[GroupStatus] = (),
        kind: str | None = None,
        key: str | None = None,
        project: str | None = None,
    ) -> Iterator[Group]:
        """The account's groups that fit, newest first, without their members."""
        return self._pages(_PATH, _filters(status, kind, key, project), Group)

    def cancel(
        self, group_id: str, *, reason: str = "", idempotency_key: str | None = None
    ) -> Group:
        """Start no more members; cancel those that wait, and ask those that run to stop."""
        path = exchange.resource_path(_PATH, group_id, "cancel")
        return self._call(exchange.post(path, {"reason": reason}, key=idempotency_key), Group)

    def retry(self, group_id: str, *, idempotency_key: str | None = None) -> Group:
        """Run again what was not delivered, with a new hold."""
        path = exchange.resource_path(_PATH, group_id, "retry")
        return self._call(exchange.post(path, {}, key=idempotency_key), Group)

    def history(self, group_id: str) -> Iterator[HistoryEntry]:
        """The facts of the group's life and of its credits, in order."""
        return self._pages(exchange.resource_path(_PATH, group_id, "history"), {}, HistoryEntry)


class AsyncGroups:
    """For `AsyncClient`."""

    def __init__(
        self,
        call: Callable[[Call, type[Group]], Awaitable[Group]],
        pages: Callable[[str, Query, type[Any]], AsyncIterator[Any]],
        wait: Callable[[str, type[Group], Waiting[Group]], Awaitable[Group]],
        watch: Callable[[str, type[Group], Waiting[Group], float], AsyncIterator[Group]],
    ) -> None:
        self._call = call
        self._pages = pages
        self._wait = wait
        self._watch = watch

    async def start(
        self,
        kind: str,
        members: Sequence[Member] = (),
        *,
        input: Mapping[str, Any] | msgspec.Struct | None = None,  # noqa: A002 - the field's name
        key: str | None = None,
        priority: Priority = "normal",
        project: str | None = None,
        parallel_max: int | None = None,
        idempotency_key: str | None = None,
    ) -> Group:
        """As `Groups.start`."""
        body = _body(kind, members, input, key, priority, project, parallel_max)
        return await self._call(exchange.post(_PATH, body, key=idempotency_key), Group)

    async def get(self, group_id: str) -> Group:
        """The group as it is now, with its members."""
        return await self._call(exchange.get(exchange.resource_path(_PATH, group_id)), Group)

    async def wait(self, group_id: str, *, timeout_seconds: float) -> Group:
        """As `Groups.wait`."""
        waiting = Waiting(timeout_seconds, GroupWaitTimeout)
        return await self._wait(exchange.resource_path(_PATH, group_id), Group, waiting)

    def watch(
        self, group_id: str, *, timeout_seconds: float, poll_seconds: float = POLL_SECONDS
    ) -> AsyncIterator[Group]:
        """As `Groups.watch`."""
        waiting = Waiting(timeout_seconds, GroupWaitTimeout)
        return self._watch(exchange.resource_path(_PATH, group_id), Group, waiting, poll_seconds)

    def list(
        self,
        *,
        status: Sequence[GroupStatus] = (),
        kind: str | None = None,
        key: str | None = None,
        project: str | None = None,
    ) -> AsyncIterator[Group]:
        """The account's groups that fit, newest first, without their members."""
        return self._pages(_PATH, _filters(status, kind, key, project), Group)

    async def cancel(
        self, group_id: str, *, reason: str = "", idempotency_key: str | None = None
    ) -> Group:
        """Start no more members; cancel those that wait, and ask those that run to stop."""
        path = exchange.resource_path(_PATH, group_id, "cancel")
        return await self._call(exchange.post(path, {"reason": reason}, key=idempotency_key), Group)

    async def retry(self, group_id: str, *, idempotency_key: str | None = None) -> Group:
        """Run again what was not delivered, with a new hold."""
        path = exchange.resource_path(_PATH, group_id, "retry")
        return await self._call(exchange.post(path, {}, key=idempotency_key), Group)

    def history(self, group_id: str) -> AsyncIterator[HistoryEntry]:
        """The facts of the group's life and of its credits, in order."""
        return self._pages(exchange.resource_path(_PATH, group_id, "history"), {}, HistoryEntry)


def _body(
    kind: str,
    members: Sequence[Member],
    input_: Mapping[str, Any] | msgspec.Struct | None,
    key: str | None,
    priority: Priority,
    project: str | None,
    parallel_max: int | None,
) -> dict[str, object]:
    """Raises `InvalidArgument` unless it is said what the group consists of, in one way."""
    if (input_ is None) != bool(members):
        raise InvalidArgument("give either members or the input of a kind")
    given: dict[str, object | None] = {
        "members": [{"type": type_, "input": given} for type_, given in members] or None,
        "input": input_,
        "key": key,
        "project": project,
        "parallel_max": parallel_max,
    }
    told = {name: value for name, value in given.items() if value is not None}
    return {"kind": kind, "priority": priority, **told}


def _filters(
    status: Sequence[GroupStatus], kind: str | None, key: str | None, project: str | None
) -> Query:
    query = {"status": list(status) or None, "kind": kind, "key": key, "project": project}
    return {name: value for name, value in query.items() if value is not None}
