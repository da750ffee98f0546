"""How Litestar, which finds the path of a request, hands it to the routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from litestar import Request
from litestar.enums import HttpMethod
from litestar.handlers import ASGIRouteHandler, BaseRouteHandler, HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from service.http.answer import Answer
from service.http.refusals import MethodNotAllowed
from service.http.route import Carrier, Route
from service.http.routes import ROUTES

_FORMS = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(r.path))), r.method) for r in ROUTES]


def litestar_handlers() -> list[BaseRouteHandler]:
    """One for each path; the scope of a request says what to work with: `FRONT`."""
    paths: dict[str, list[Route]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, []).append(route)
    return [
        _with_parameters(path, routes) if "{" in path else _without(path, routes)
        for path, routes in paths.items()
    ]


def allowed_methods(path: str) -> str:
    """The value of `Allow` for a path with parameters."""
    return _allow(method for form, method in _FORMS if form.fullmatch(path))


def _allow(methods: Iterable[str]) -> str:
    """OPTIONS, which every path answers, with them."""
    return ", ".join(sorted({*methods, "OPTIONS"}))


def _with_parameters(path: str, routes: Sequence[Route]) -> HTTPRouteHandler:
    """Litestar gives an ASGI handler no parameters of the path.

    Its own answer to OPTIONS names the first of several methods alone.
    """
    carriers = _carriers(routes)

    async def handle(request: Request[Any, Any, Any]) -> ASGIApp:
        carry_out = carriers.get(request.method)
        if carry_out is None:
            return _options(carriers)
        return await carry_out(request.scope, request.receive)

    methods = [HttpMethod(method) for method in (*carriers, "OPTIONS")]
    return HTTPRouteHandler(
        path.replace("}", ":str}"),
        http_method=methods,
        name=_names(routes),
        status_code=200,  # of answers that Litestar makes; ours say their own
        include_in_schema=False,
    )(handle)


def _without(path: str, routes: Sequence[Route]) -> ASGIRouteHandler:
    """Past the request and the response that Litestar would make."""
    carriers = _carriers(routes)

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        method: Any = scope.get("method")
        carry_out = carriers.get(method)
        if carry_out is not None:
            answer = await carry_out(scope, receive)
        elif method == "OPTIONS":
            answer = _options(carriers)
        else:
            raise MethodNotAllowed(_allow(carriers))
        await answer(scope, receive, send)

    return ASGIRouteHandler(path, name=_names(routes), copy_scope=False)(handle)


def _carriers(routes: Sequence[Route]) -> dict[str, Carrier]:
    return {route.method: Carrier(route) for route in routes}


def _options(methods: Iterable[str]) -> Answer:
    return Answer(204, headers=[(b"allow", _allow(methods).encode())])


def _names(routes: Sequence[Route]) -> str:
    return " ".join(route.name for route in routes)
