"""What goes back to a client: status, headers and the bytes of one encoding."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
Headers = list[tuple[bytes, bytes]]
_encode = msgspec.json.Encoder().encode


class Answer:
    """An ASGI application that sends itself. `headers` may be added to until then."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Headers | None = None, media: bytes = JSON
    ) -> None:
        self.status = status
        self.body = body
        self.headers: Headers = headers if headers is not None else []
        if status not in {204, 304}:
            self.headers.append((b"content-type", media))
            self.headers.append((b"content-length", str(len(body)).encode()))

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send everything at once."""
        start: Any = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        body: Any = {"type": "http.response.body", "body": self.body, "more_body": False}
        await send(body)


def json_answer(value: object, status: int = 200, headers: Headers | None = None) -> Answer:
    """`value` as JSON; not to be kept by caches unless `headers` say so."""
    return bytes_answer(_encode(value), status, headers)


def bytes_answer(body: bytes, status: int = 200, headers: Headers | None = None) -> Answer:
    """JSON that is encoded already."""
    return Answer(status, body, [(b"cache-control", b"no-store")] if headers is None else headers)


def etag(version: int) -> bytes:
    """The entity tag of an aggregate at one version."""
    return b'"v%d"' % version
