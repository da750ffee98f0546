"""Headers in the OpenAPI document: which a route reads, and which its answers carry."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from service.http.rate_limit import COUNTED
from service.http.route import Route

Document = dict[str, Any]
_STRING = {"type": "string"}
_PREFER = "`wait=N`: hold the answer back until the task has ended, at most N seconds (of 60)."
_KEY = (
    "Makes the request happen once: sent again with the same key and body it gets the first answer,"
    " for 7 days. A quoted string or a bare token, at most 255 characters."
)
_LAST_EVENT_ID = "The last `id` that came: the stream goes on with the facts after it."
_ACCEPTED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})
_RETRIABLE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def parameters_of_headers(route: Route) -> list[Document]:
    """Header parameters of an operation."""
    parameters = []
    if route.idempotent:
        parameters.append(_parameter("Idempotency-Key", _KEY))
    if route.conditional == "If-Match":
        tags = 'Versions that the command may find, like `"v17"`; any other is refused.'
        parameters.append(_parameter("If-Match", tags))
    if route.conditional == "If-None-Match":
        tags = 'Versions that are known, like `"v17"`; unchanged, the answer is 304.'
        parameters.append(_parameter("If-None-Match", tags))
    if route.waits:
        parameters.append(_parameter("Prefer", _PREFER))
    if route.stream:
        parameters.append(_parameter("Last-Event-ID", _LAST_EVENT_ID))
    if route.scopes:
        parameters.append(_parameter("traceparent", "W3C trace context, continued by events."))
    return parameters


def response_headers(route: Route, status: int) -> Document:
    """Headers of an answer with this status, those of the framework left out."""
    names = ["traceparent"]
    if status in _ACCEPTED and route.idempotent:
        names.append("Idempotent-Replayed")
    if status in _ACCEPTED and route.waits:
        names += ["Preference-Applied", "Vary"]
    if status in {HTTPStatus.CREATED, HTTPStatus.ACCEPTED} and route.name in _LOCATED:
        names.append("Location")
    if status in _RETRIABLE or (status in _ACCEPTED and route.waits):
        names.append("Retry-After")
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status in _ACCEPTED and route.name in COUNTED):
        names += ["RateLimit-Policy", "RateLimit"]
    if status in {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED} and route.name in _TAGGED:
        names.append("ETag")
    if status == HTTPStatus.OK and "cursor" in getattr(route.given, "__struct_fields__", ()):
        names.append("Link")
    if status == HTTPStatus.UNAUTHORIZED:
        names.append("WWW-Authenticate")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_SAID = {
    "traceparent": "Our span in the request's trace, or in a new one.",
    "Idempotent-Replayed": "`true` on the first answer given again, and where the `source_ref`"
    " was used before for the same.",
    "Preference-Applied": "The `Prefer: wait` that was honoured.",
    "Vary": "`Prefer`.",
    "Location": "Path of what was made.",
    "Retry-After": "Seconds until it is worth asking again; not where time alone lifts no limit.",
    "RateLimit-Policy": 'Limits by name: `"daily_tasks_max";q=1000;w=86400`, so many in so long.',
    "RateLimit": "What is left of each (`r`), and seconds until it is whole again (`t`); not on the"
    " first answer given again.",
    "ETag": 'The version, like `"v17"`.',
    "Link": '`rel="next"`: the next page, if there is one.',
    "WWW-Authenticate": "`Bearer`.",
}
HEADERS: Document = {
    name: {
        "description": said,
        "schema": {"type": "integer"} if name == "Retry-After" else _STRING,
    }
    for name, said in _SAID.items()
}
"""Of answers, by name."""
_LOCATED = frozenset({"submit_task", "retry_task", "open_account"})
_TAGGED = frozenset({"get_task", "get_account"})


def _parameter(name: str, description: str) -> Document:
    return {"name": name, "in": "header", "description": description, "schema": _STRING}
