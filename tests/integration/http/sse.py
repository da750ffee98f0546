"""A plain reader of server-sent events, as the standard has them, on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import msgspec

from tests.integration.http.api import Api

SECONDS_MAX = 30
TERMINAL = {"task.completed", "task.failed", "task.cancelled"}


class Heard(NamedTuple):
    """One event; `id` is None where none stood in it."""

    name: str
    id: int | None
    data: dict[str, Any]

    @property
    def is_fact(self) -> bool:
        return "." in self.name


class Listener:
    """`last_id` is what a browser would send to resume; `comments` counts lines without meaning."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id: int | None = None
        self.comments = 0
        self._lines = response.aiter_lines()

    async def next(self) -> Heard | None:
        """The next event; None at the end of the stream."""
        async with asyncio.timeout(SECONDS_MAX):
            return await self._next()

    async def _next(self) -> Heard | None:
        name, id_, data = "", None, ""
        async for line in self._lines:
            field, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif field == "event":
                name = value
            elif field == "id":
                id_ = self.last_id = int(value)
            elif field == "data":
                data += value
            elif not line and data:
                return Heard(name, id_, msgspec.json.decode(data))
            elif not line:
                name, id_ = "", None
        return None

    async def until(self, name: str) -> list[Heard]:
        """All events up to and with the first of this name."""
        heard: list[Heard] = []
        while not heard or heard[-1].name != name:
            event = await self.next()
            assert event is not None, f"the stream ended after {heard}"
            heard.append(event)
        return heard

    async def rest(self) -> list[Heard]:
        """All events to the end."""
        heard = []
        while (event := await self.next()) is not None:
            heard.append(event)
        return heard


@asynccontextmanager
async def listening(
    api: Api, path: str, as_: str = "user", *, after: int | str | None = None
) -> AsyncIterator[Listener]:
    headers = {"authorization": f"Bearer {api.secrets[as_]}"}
    if after is not None:
        headers["last-event-id"] = str(after)
    async with (
        httpx.AsyncClient(base_url=api.url, timeout=SECONDS_MAX, verify=False) as client,  # noqa: S501
        client.stream("GET", path, headers=headers) as response,
    ):
        yield Listener(response)


async def open_streams(api: Api, count: int) -> None:
    """Wait until so many streams are open."""
    async with asyncio.timeout(SECONDS_MAX):
        while f"tallystick_http_streams {count}.0" not in (await api.get("/metrics", None)).text:
            pass
