"""The schedules of an account: tasks submitted again and again, at the times of a cron expression.

Reached as `client.schedules`; errors and repetition are those of the client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from tallystick import exchange
from tallystick.exchange import Call
from tallystick.models import Priority, Schedule

Verb = Literal["pause", "resume", "delete"]
_PATH = "/v1/schedules"


class Schedules:
    """For `Client`."""

    def __init__(
        self,
        call: Callable[[Call, type[Schedule]], Schedule],
        pages: Callable[
            [str, Mapping[str, str | Sequence[str]], type[Schedule]], Iterator[Schedule]
        ],
    ) -> None:
        self._call = call
        self._pages = pages

    def create(
        self,
        cron: str,
        type: str,  # noqa: A002 - the field's name
        input: Mapping[str, Any] | msgspec.Struct,  # noqa: A002
        *,
        zone: str = "UTC",
        priority: Priority = "normal",
        name: str | None = None,
        project: str | None = None,
        idempotency_key: str | None = None,
    ) -> Schedule:
        """Submit a task at every time of `cron` (five fields) in `zone`, from the next one on."""
        body = _body(cron, type, input, zone, priority, name, project)
        return self._call(exchange.post(_PATH, body, key=idempotency_key), Schedule)

    def get(self, schedule_id: str) -> Schedule:
        """The schedule as it is now."""
        return self._call(exchange.get(exchange.resource_path(_PATH, schedule_id)), Schedule)

    def list(self) -> Iterator[Schedule]:
        """Those that are not deleted, newest first."""
        return self._pages(_PATH, {}, Schedule)

    def pause(
        self, schedule_id: str, *, reason: str = "", idempotency_key: str | None = None
    ) -> Schedule:
        """Let it fire no more until it is resumed."""
        return self._change(schedule_id, "pause", {"reason": reason}, idempotency_key)

    def resume(self, schedule_id: str, *, idempotency_key: str | None = None) -> Schedule:
        """Let it fire again, from its next time on."""
        return self._change(schedule_id, "resume", {}, idempotency_key)

    def delete(self, schedule_id: str, *, idempotency_key: str | None = None) -> Schedule:
        """End it for good; the tasks that it submitted go on."""
        return self._change(schedule_id, "delete", {}, idempotency_key)

    def _change(
        self, schedule_id: str, verb: Verb, body: Mapping[str, str], key: str | None
    ) -> Schedule:
        return self._call(_change(schedule_id, verb, body, key), Schedule)


class AsyncSchedules:
    """For `AsyncClient`."""

    def __init__(
        self,
        call: Callable[[Call, type[Schedule]], Awaitable[Schedule]],
        pages: Callable[
            [str, Mapping[str, str | Sequence[str]], type[Schedule]], AsyncIterator[Schedule]
        ],
    ) -> None:
        self._call = call
        self._pages = pages

    async def create(
        self,
        cron: str,
        type: str,  # noqa: A002 - the field's name
        input: Mapping[str, Any] | msgspec.Struct,  # noqa: A002
        *,
        zone: str = "UTC",
        priority: Priority = "normal",
        name: str | None = None,
        project: str | None = None,
        idempotency_key: str | None = None,
    ) -> Schedule:
        """As `Schedules.create`."""
        body = _body(cron, type, input, zone, priority, name, project)
        return await self._call(exchange.post(_PATH, body, key=idempotency_key), Schedule)

    async def get(self, schedule_id: str) -> Schedule:
        """The schedule as it is now."""
        return await self._call(exchange.get(exchange.resource_path(_PATH, schedule_id)), Schedule)

    def list(self) -> AsyncIterator[Schedule]:
        """Those that are not deleted, newest first."""
        return self._pages(_PATH, {}, Schedule)

    async def pause(
        self, schedule_id: str, *, reason: str = "", idempotency_key: str | None = None
    ) -> Schedule:
        """Let it fire no more until it is resumed."""
        return await self._change(schedule_id, "pause", {"reason": reason}, idempotency_key)

    async def resume(self, schedule_id: str, *, idempotency_key: str | None = None) -> Schedule:
        """Let it fire again, from its next time on."""
        return await self._change(schedule_id, "resume", {}, idempotency_key)

    async def delete(self, schedule_id: str, *, idempotency_key: str | None = None) -> Schedule:
        """End it for good; the tasks that it submitted go on."""
        return await self._change(schedule_id, "delete", {}, idempotency_key)

    async def _change(
        self, schedule_id: str, verb: Verb, body: Mapping[str, str], key: str | None
    ) -> Schedule:
        return await self._call(_change(schedule_id, verb, body, key), Schedule)


def _change(schedule_id: str, verb: Verb, body: Mapping[str, str], key: str | None) -> Call:
    return exchange.post(exchange.resource_path(_PATH, schedule_id, verb), body, key=key)


def _body(
    cron: str,
    type_: str,
    input_: Mapping[str, Any] | msgspec.Struct,
    zone: str,
    priority: Priority,
    name: str | None,
    project: str | None,
) -> dict[str, object]:
    body = exchange.submission(type_, input_, priority, project, None)
    named = {} if name is None else {"name": name}
    return {"cron": cron, "zone": zone, **body, **named}
