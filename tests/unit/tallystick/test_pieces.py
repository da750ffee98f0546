"""A long answer is begun anew after what passes, and never taken for whole where it broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from tallystick.errors import NotFound, Unavailable, Unreachable
from tallystick.exchange import RetryPolicy
from tallystick.pieces import Reading, pieces, pieces_async

REQUEST = {"method": "GET", "url": "/v1/account/statement.csv"}
QUICK = RetryPolicy(retries_max=2, pause_seconds=0.001, pause_seconds_max=0.002)
URL = "http://service"


class Breaking(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Two pieces, or the loss of the connection in place of the second."""

    def __init__(self, *, breaks: bool) -> None:
        self._breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield b"a\r\n"
        if self._breaks:
            raise httpx.ReadError("reset")
        yield b"b\r\n"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def whole() -> httpx.Response:
    return httpx.Response(200, stream=Breaking(breaks=False))


def broken() -> httpx.Response:
    return httpx.Response(200, stream=Breaking(breaks=True))


def refused(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": "No."})


def transport(answers: list[httpx.Response]) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: answers.pop(0))


def read(answers: list[httpx.Response]) -> list[bytes]:
    with httpx.Client(base_url=URL, transport=transport(answers)) as http:
        return list(pieces(http, dict(REQUEST), Reading(URL, QUICK), lambda _: None))


def read_async(answers: list[httpx.Response]) -> list[bytes]:
    async def run() -> list[bytes]:
        async with httpx.AsyncClient(base_url=URL, transport=transport(answers)) as http:
            found = pieces_async(http, dict(REQUEST), Reading(URL, QUICK))
            return [piece async for piece in found]

    return asyncio.run(run())


both = pytest.mark.parametrize("read", [read, read_async], ids=["sync", "async"])
Read = Callable[[list[httpx.Response]], list[bytes]]


@both
def test_it_comes_piece_by_piece(read: Read) -> None:
    assert read([whole()]) == [b"a\r\n", b"b\r\n"]


@both
def test_what_passes_is_asked_again(read: Read) -> None:
    assert read([refused(503, "unavailable"), whole()]) == [b"a\r\n", b"b\r\n"]


@both
def test_trouble_that_lasts_is_raised(read: Read) -> None:
    left = [refused(503, "unavailable") for _ in range(4)]
    with pytest.raises(Unavailable):
        read(left)
    assert len(left) == 4 - 1 - QUICK.retries_max


@both
def test_a_refusal_is_raised_at_once(read: Read) -> None:
    with pytest.raises(NotFound):
        read([refused(404, "not_found"), whole()])


@both
def test_what_breaks_off_is_not_begun_again(read: Read) -> None:
    left = [broken(), whole()]
    with pytest.raises(Unreachable, match="broke off its answer"):
        read(left)
    assert len(left) == 1
