"""Reads a live stream, connection after connection, for threads and for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import httpx

from tallystick import exchange
from tallystick.errors import ApiError, Unreachable
from tallystick.models import StreamEvent
from tallystick.stream import Following

CONNECT_SECONDS_MAX = 5.0


def follow(
    http: httpx.Client, following: Following, pause: Callable[[float], None]
) -> Iterator[StreamEvent]:
    """Everything to the end. Raises as `Following` does, and what `pause` raises."""
    while not following.ended:
        error: ApiError | Unreachable | None = None
        try:
            yield from _connection(http, following)
        except httpx.HTTPError as lost:
            error = exchange.unreachable(str(http.base_url), lost)
        except (ApiError, Unreachable) as refused:
            error = refused
        if not following.ended:
            pause(following.pause(error))


def _connection(http: httpx.Client, following: Following) -> Iterator[StreamEvent]:
    with http.stream(**_request(following)) as response:
        if response.is_error:
            response.read()
        if following.accept(response):
            for data in response.iter_bytes():
                yield from following.heard(data)
                if following.ended:
                    return


async def follow_async(http: httpx.AsyncClient, following: Following) -> AsyncIterator[StreamEvent]:
    """As `follow`."""
    while not following.ended:
        error: ApiError | Unreachable | None = None
        try:
            async with aclosing(_connection_async(http, following)) as events:
                async for event in events:
                    yield event
        except (httpx.HTTPError, TimeoutError) as lost:
            error = exchange.unreachable(str(http.base_url), lost)
        except (ApiError, Unreachable) as refused:
            error = refused
        if not following.ended:
            await asyncio.sleep(following.pause(error))


async def _connection_async(
    http: httpx.AsyncClient, following: Following
) -> AsyncGenerator[StreamEvent, None]:
    async with http.stream(**_request(following)) as response:
        if response.is_error:
            await response.aread()
        if not following.accept(response):
            return
        pieces = response.aiter_bytes()
        while (data := await _next(pieces, following.left_seconds)) is not None:
            for event in following.heard(data):
                yield event
            if following.ended:
                return


async def _next(pieces: AsyncIterator[bytes], seconds: float) -> bytes | None:
    """None at the end. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        return await anext(pieces, None)


def _request(following: Following) -> dict[str, Any]:
    """Arguments of httpx's `stream`."""
    call, seconds = following.call(), following.left_seconds
    return {
        "method": call.method,
        "url": call.path,
        "headers": dict(call.headers),
        "timeout": httpx.Timeout(seconds, connect=min(CONNECT_SECONDS_MAX, seconds)),
    }
