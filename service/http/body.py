"""Reads a JSON body: bounded in bytes, time and depth, decoded once, refused by name otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.types import Receive

from domain.errors import InvalidInput, ShuttingDown
from service.http.raw_json import guard_json, mended_json
from service.http.refusals import (
    BodyTooLarge,
    MalformedRequest,
    RequestTimedOut,
    UnsupportedMediaType,
)
from service.times import unusable_times

READ_SECONDS_MAX = 10.0
"""For the whole body, from the end of the headers."""
_UNFIT = "The body does not have the form that is asked for."
_PLAIN = frozenset({b"application/json", b"application/json; charset=utf-8"})
Decoder = msgspec.json.Decoder[Any]


def guard_media(headers: Mapping[bytes, bytes]) -> None:
    """Raise `UnsupportedMediaType` for anything but plain JSON in UTF-8."""
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.strip().lower() != b"identity":
        raise UnsupportedMediaType("Bodies with a Content-Encoding are not taken.")
    media = headers.get(b"content-type", b"")
    if media in _PLAIN:
        return
    kind, *parameters = media.lower().split(b";")
    if kind.strip() != b"application/json":
        raise UnsupportedMediaType("The Content-Type has to be application/json.")
    for parameter in parameters:
        name, _, value = parameter.strip().partition(b"=")
        if name == b"charset" and value.strip(b'"') not in {b"utf-8", b"utf8"}:
            raise UnsupportedMediaType("The charset has to be UTF-8.")


class Bodies:
    """Reads the bodies of a process's requests. After `stop`, none is waited for any more."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self._stopped = False

    async def read(self, receive: Receive, headers: Mapping[bytes, bytes], bytes_max: int) -> bytes:
        """The whole body.

        Raises `BodyTooLarge`, `RequestTimedOut`, `MalformedRequest`, `ShuttingDown`.
        """
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > bytes_max:
            raise BodyTooLarge(bytes_max)
        limit = asyncio.timeout(0 if self._stopped else READ_SECONDS_MAX)
        self._limits.add(limit)
        try:
            async with limit:
                return await _collect(receive, bytes_max)
        except TimeoutError as error:
            if self._stopped:
                raise ShuttingDown("The body had not arrived when the process stopped.") from error
            raise RequestTimedOut(READ_SECONDS_MAX) from error
        finally:
            self._limits.discard(limit)

    def stop(self) -> None:
        """Refuse the requests of which the body has not arrived."""
        self._stopped = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)


async def _collect(receive: Receive, bytes_max: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedRequest("The connection ended before the body did.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise BodyTooLarge(bytes_max)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def decode_body(body: bytes, decoder: Decoder, depth_max: int, *, foreign: bool) -> Any:  # noqa: ANN401
    """The body as the decoder's type. Raises `MalformedRequest`, `InvalidInput`.

    A `foreign` body holds data of third parties: what cannot be stored is taken out, not refused.
    """
    if foreign:
        body = mended_json(body, depth_max)
    else:
        guard_json(body, depth_max)
    try:
        given = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_body(error) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MalformedRequest(f"The body cannot be read: {error}.") from error
    for pointer, sentence in unusable_times(given):
        raise InvalidInput(_UNFIT, (pointer, sentence))
    return given


def invalid_body(error: msgspec.ValidationError, below: str = "") -> InvalidInput:
    """What is wrong, with the JSON pointer to where; `below` is that of the part looked at."""
    sentence, _, path = str(error).partition(" - at `$")
    steps = path.rstrip("`").replace("[...]", "").replace("[", ".").replace("]", "").split(".")
    pointer = below + "".join(f"/{step}" for step in steps if step)
    return InvalidInput(_UNFIT, (pointer, sentence))
