"""A route is declared once: the same declaration checks requests and makes the OpenAPI document.

Litestar finds the route; body and query are read here, because its own reading takes JSON sent as
text, converts loosely ("5" for 5), and answers 500 to deep nesting and to bytes that are no UTF-8.

A request is refused in this order: path and method, key (401), scope (403), media type (415), size
(413), bytes of the body (400), its form (400); then what the handler checks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
import structlog

from adapters.api_keys import Scope
from adapters.committer import OutcomeUnknown
from domain.errors import InvalidInput, ShuttingDown, TallystickError
from service.http.answer import Answer
from service.http.authentication import authenticate
from service.http.body import decode_body, guard_media
from service.http.call import Call, Front
from service.http.problem import problem_answer
from service.http.query import read_query
from service.http.rate_limit import COUNTED
from service.http.refusals import Forbidden, of_query
from service.http.trace import Trace

Method = Literal["GET", "POST"]
Handler = Callable[..., Awaitable[Answer]]
INTERNAL_STATUS_MIN = 500
FRONT = "tallystick.front"
"""Where the scope of a request holds the `Front` of the application that it came to."""
_log = structlog.get_logger(__name__)

USER: frozenset[Scope] = frozenset({"user"})
WORKER: frozenset[Scope] = frozenset({"worker"})
ADMIN: frozenset[Scope] = frozenset({"admin"})
USER_OR_ADMIN = USER | ADMIN
ANYONE_WITH_A_KEY = USER | WORKER | ADMIN
OPEN: frozenset[Scope] = frozenset()
"""No key is needed."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`handler(call)`, or `handler(call, given)` with a query (GET) or a JSON body (POST).

    `answers` says which body comes with which status; None is one without JSON. `refusals` are
    codes besides those that follow from the declaration; `media` are those of a body that is no
    struct. With `stream`, it is server-sent events: what each holds by its name, `*` standing for
    any ending. With `foreign`, the body holds data of third parties. `links` are OpenAPI's: name to
    (operation, parameter, expression). `examples` are bodies by a name, shown with the `example`.
    """

    method: Method
    path: str
    handler: Handler
    scopes: frozenset[Scope]
    given: type[msgspec.Struct] | None
    given_optional: bool
    answers: Mapping[int, type | None]
    refusals: tuple[str, ...]
    idempotent: bool
    waits: bool
    conditional: Literal["If-Match", "If-None-Match"] | None
    foreign: bool
    media: tuple[str, ...]
    stream: Mapping[str, type]
    example: object
    links: Mapping[str, tuple[str, str, str]]
    examples: Mapping[str, object]

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def reads_body(self) -> bool:
        return self.method == "POST" and self.given is not None


def route(  # noqa: PLR0913 - each is a part of the declaration
    method: Method,
    path: str,
    *,
    scopes: frozenset[Scope],
    answers: Mapping[int, type | None],
    given: type[msgspec.Struct] | None = None,
    given_optional: bool = False,
    refusals: tuple[str, ...] = (),
    idempotent: bool = False,
    waits: bool = False,
    conditional: Literal["If-Match", "If-None-Match"] | None = None,
    foreign: bool = False,
    media: tuple[str, ...] = ("application/json",),
    stream: Mapping[str, type] | None = None,
    example: object = None,
    links: Mapping[str, tuple[str, str, str]] | None = None,
    examples: Mapping[str, object] | None = None,
) -> Callable[[Handler], Route]:
    """Declare the route that the decorated handler carries out; see `Route`."""

    def declare(handler: Handler) -> Route:
        return Route(
            method=method,
            path=path,
            handler=handler,
            scopes=scopes,
            given=given,
            given_optional=given_optional,
            answers=answers,
            refusals=refusals,
            idempotent=idempotent,
            waits=waits,
            conditional=conditional,
            foreign=foreign,
            media=media,
            stream=stream or {},
            example=example,
            links=links or {},
            examples=examples or {},
        )

    return declare


class Carrier:
    """Carries out the requests of one route; every one is answered, whatever is raised."""

    def __init__(self, declared: Route) -> None:
        self._route = declared
        self._decoder: msgspec.json.Decoder[Any] | None = (
            msgspec.json.Decoder(declared.given) if declared.given and declared.reads_body else None
        )

    async def __call__(self, scope: Any, receive: Any) -> Answer:  # noqa: ANN401 - ASGI's
        began = time.perf_counter()
        declared = self._route
        front: Front = scope[FRONT]
        call = Call(front, scope, receive, declared.path)
        trace = call.trace
        structlog.contextvars.bind_contextvars(trace_id=trace.trace_id)
        try:
            answer = await self._answer(call, scope)
        except asyncio.CancelledError:
            answer = refused(_cut_off(declared), call.path, trace)
        except Exception as error:  # noqa: BLE001 - the edge: everything is answered
            answer = refused(error, call.path, trace)
        if declared.name in COUNTED:
            answer.headers += call.left
        answer.headers.append((b"traceparent", trace.parent))
        seconds = time.perf_counter() - began
        front.metrics.observe(declared.method, declared.path, answer.status, seconds)
        return answer

    async def _answer(self, call: Call, scope: Any) -> Answer:  # noqa: ANN401 - ASGI's
        declared = self._route
        if declared.scopes:
            keys = call.service.keys
            call.key = await authenticate(keys, call.headers.get(b"authorization"))
            if call.key.scope not in declared.scopes:
                raise Forbidden(call.key.scope, declared.scopes)
        if declared.given is None:
            return await declared.handler(call)
        if self._decoder is None:
            return await self._of_query(call, scope["query_string"])
        return await declared.handler(call, await self._body(call, self._decoder))

    async def _of_query(self, call: Call, query: bytes) -> Answer:
        assert self._route.given is not None
        given = read_query(query, self._route.given)
        try:
            return await self._route.handler(call, given)
        except InvalidInput as error:
            raise of_query(error) from error

    async def _body(self, call: Call, decoder: msgspec.json.Decoder[Any]) -> Any:  # noqa: ANN401
        declared = self._route
        headers = call.headers
        empty = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        if not (empty and declared.given_optional):
            guard_media(headers)
        settings = call.service.settings
        bytes_max = settings.http_body_bytes_max
        call.body = await call.front.bodies.read(call.receive, headers, bytes_max)
        if not call.body and declared.given_optional:
            assert declared.given is not None
            return declared.given()
        return decode_body(call.body, decoder, settings.json_depth_max, foreign=declared.foreign)


def _cut_off(declared: Route) -> TallystickError:
    """What the server, which cancels requests at the end of the grace time, has made of one."""
    if declared.method == "GET":
        return ShuttingDown("The process ended before the answer.")
    return OutcomeUnknown("The process ended before it knew.")


def refused(error: BaseException, path: str, trace: Trace) -> Answer:
    """The problem that tells of `error`; a fault of ours is logged, with its cause."""
    answer = problem_answer(error, path, trace)
    if not isinstance(error, TallystickError):
        _log.error("http.failed", path=path, exc_info=error)
    elif answer.status >= INTERNAL_STATUS_MIN:
        _log.warning("http.unavailable", path=path, code=error.code, error=str(error))
    return answer
