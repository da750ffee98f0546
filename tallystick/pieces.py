"""A long answer, such as a statement as CSV, handed on piece by piece as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx

from tallystick import exchange
from tallystick.errors import ApiError, Unreachable
from tallystick.exchange import RetryPolicy


class Reading:
    """How far an answer has come: begun anew after transient failures, never in its middle."""

    def __init__(self, url: str, retries: RetryPolicy) -> None:
        self._url = url
        self._retries = retries
        self._retry = 0
        self.begun = False

    def pause(self, error: Exception) -> float:
        """Seconds before it is asked for again. Raises what ends it."""
        if isinstance(error, httpx.HTTPError):
            error = self._lost(error)
        seconds = None if self.begun else self._retries.pause(error, self._retry)
        if seconds is None:
            raise error
        self._retry += 1
        return seconds

    def _lost(self, error: httpx.HTTPError) -> Unreachable:
        if self.begun:
            return Unreachable(f"{self._url} broke off its answer: {error}", transient=False)
        return exchange.unreachable(self._url, error)


def pieces(
    http: httpx.Client, request: dict[str, Any], reading: Reading, pause: Callable[[float], None]
) -> Iterator[bytes]:
    """The whole body. Raises the typed `ApiError`, and `Unreachable`, also where it breaks off."""
    while True:
        try:
            with http.stream(**request) as response:
                if response.is_error:
                    response.read()
                exchange.refuse(response)
                for piece in response.iter_bytes():
                    reading.begun = True
                    yield piece
                return
        except (httpx.HTTPError, ApiError, Unreachable) as error:
            seconds = reading.pause(error)
        pause(seconds)


async def pieces_async(
    http: httpx.AsyncClient, request: dict[str, Any], reading: Reading
) -> AsyncIterator[bytes]:
    """As `pieces`."""
    while True:
        try:
            async with http.stream(**request) as response:
                if response.is_error:
                    await response.aread()
                exchange.refuse(response)
                async for piece in response.aiter_bytes():
                    reading.begun = True
                    yield piece
                return
        except (httpx.HTTPError, ApiError, Unreachable) as error:
            seconds = reading.pause(error)
        await asyncio.sleep(seconds)
