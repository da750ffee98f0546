"""The API's own documents, all from local files: OpenAPI, its viewer, a page for each problem."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from domain.errors import NotFound
from service.http.answer import Answer, Headers
from service.http.call import Call
from service.http.route import OPEN, route
from service.problems import PROBLEMS

HTML = b"text/html; charset=utf-8"
JAVASCRIPT = b"text/javascript; charset=utf-8"
CSS = b"text/css; charset=utf-8"
_KEEP = (b"cache-control", b"public, max-age=3600")
# The viewer styles its parts inline; nothing may come from, or go to, anywhere else.
_POLICY = (
    b"content-security-policy",
    (
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
        b" img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        b" frame-ancestors 'none'"
    ),
)
_VIEWER = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tallystick API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/viewer.css">
</head>
<body>
<div id="viewer"></div>
<script src="/docs/viewer.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = b"""SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#viewer",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null
});
"""
_PROBLEM = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
</head>
<body>
<h1>{title}</h1>
<p><code>{code}</code>, HTTP status {status}</p>
<p>{help}</p>
</body>
</html>
"""


class _Asset(NamedTuple):
    package: str
    file: str
    media: bytes


_ASSETS: Mapping[str, _Asset] = MappingProxyType(
    {
        "viewer.js": _Asset("offapi", "swagger_bundle.js", JAVASCRIPT),
        "viewer.css": _Asset("offapi", "swagger_style.css", CSS),
    }
)


@route("GET", "/openapi.json", scopes=OPEN, answers={200: None}, media=("application/json",))
async def get_openapi(call: Call) -> Answer:
    """The OpenAPI document that is read here."""
    return Answer(200, await asyncio.to_thread(call.front.openapi), [_KEEP])


@route("GET", "/docs", scopes=OPEN, answers={200: None}, media=(HTML.decode(),))
async def view_documents(_: Call) -> Answer:
    """A viewer of the OpenAPI document."""
    return Answer(200, _VIEWER, _page_headers(), HTML)


@route(
    "GET",
    "/docs/{asset}",
    scopes=OPEN,
    answers={200: None},
    refusals=("not_found",),
    media=(JAVASCRIPT.decode(), CSS.decode()),
)
async def get_viewer_asset(call: Call) -> Answer:
    """A file of the viewer."""
    name = call.parameters["asset"]
    if name == "start.js":
        return Answer(200, _START, [_KEEP], JAVASCRIPT)
    asset = _ASSETS.get(name)
    if asset is None:
        raise NotFound("There is no such file.")
    data = files(asset.package).joinpath(asset.file).read_bytes()
    return Answer(200, data, [_KEEP], asset.media)


@route(
    "GET",
    "/problems/{code}",
    scopes=OPEN,
    answers={200: None},
    refusals=("not_found",),
    media=(HTML.decode(),),
)
async def explain_problem(call: Call) -> Answer:
    """What a problem type means, and what to do about it."""
    entry = PROBLEMS.get(call.parameters["code"])
    if entry is None:
        raise NotFound("There is no problem of that name.")
    page = _PROBLEM.format(
        title=escape(entry.title),
        code=escape(entry.code),
        status=entry.status,
        help=escape(entry.help),
    )
    return Answer(200, page.encode(), _page_headers(), HTML)


def _page_headers() -> Headers:
    return [_KEEP, _POLICY, (b"x-content-type-options", b"nosniff")]


ROUTES = (get_openapi, view_documents, get_viewer_asset, explain_problem)
