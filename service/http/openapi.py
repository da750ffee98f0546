"""The OpenAPI 3.1 document, made of the routes' declarations and of the structs they use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, cast

import msgspec

from service.http.examples import ANSWERS, REFUSALS, TASK
from service.http.openapi_headers import HEADERS, parameters_of_headers, response_headers
from service.http.openapi_webhooks import webhooks
from service.http.problem import Problem, problem_answer
from service.http.route import Route
from service.http.routes import GROUPS, ROUTES
from service.http.trace import Trace
from service.problems import PROBLEMS
from tallystick.push import Delivery

Document = dict[str, Any]
API_VERSION = "1"
SCHEMA = "#/components/schemas/{name}"
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_ID_PREFIXES = {
    "/v1/tasks/": "task",
    "/v1/worker/": "task",
    "/v1/schedules/": "sched",
    "/v1/acc": "acct",
    "/v1/keys/": "key",
}
_PATH = f"/v1/tasks/{TASK.id}"
_TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "01")
_INTRODUCTION = """\
Runs slow, costly jobs and meters them in credits, on one durable event log.

Every error is `application/problem+json` (RFC 9457) and says what was charged and given back.
A request is refused in this order: path and method, key (401), scope (403), media type (415), size
(413), bytes of the body (400), its form (400), then what the task or the account says.
Names that stand twice in one JSON object count with their last value.
"""


@cache
def openapi_bytes() -> bytes:
    """The document as JSON."""
    return msgspec.json.format(msgspec.json.encode(openapi_document()), indent=2)


def openapi_document(routes: Iterable[Route] = ROUTES) -> Document:
    routes = tuple(routes)
    schemas = _Schemas(routes)
    paths: Document = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallystick",
            "version": API_VERSION,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in GROUPS],
        "paths": paths,
        "webhooks": webhooks(schemas.of(Delivery)),
        "components": {
            "schemas": schemas.components,
            "headers": HEADERS,
            "examples": {
                code: {"summary": entry.title, "value": _example(code)}
                for code, entry in PROBLEMS.items()
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `tsk_…`; the roles of a requirement are its scope.",
                }
            },
        },
    }
    # As it will be read: without tuples.
    return cast("Document", msgspec.json.decode(msgspec.json.encode(document)))


class _Schemas:
    """JSON Schemas of all structs: bodies and answers by reference, queries field by field."""

    def __init__(self, routes: Iterable[Route]) -> None:
        kinds: list[Any] = [Problem, Delivery]
        for route in routes:
            kinds += [kind for kind in route.answers.values() if kind is not None]
            kinds += route.stream.values()
            if route.given is not None and route.reads_body:
                kinds.append(route.given)
        kinds = list(dict.fromkeys(kinds))
        schemas, self.components = msgspec.json.schema_components(kinds, ref_template=SCHEMA)
        self._by_kind: dict[object, Document] = dict(zip(kinds, schemas, strict=True))

    def of(self, kind: object) -> Document:
        return self._by_kind[kind]


def _operation(route: Route, schemas: _Schemas) -> Document:
    summary, _, rest = (route.handler.__doc__ or "").partition("\n\n")
    operation: Document = {
        "operationId": route.name,
        "tags": [name for name, group in GROUPS.items() if route in group],
        "summary": " ".join(summary.split()),
        "description": "\n".join(line.strip() for line in rest.splitlines()).strip(),
        "parameters": [*_path_parameters(route), *_query(route), *parameters_of_headers(route)],
        "responses": {**_answers(route, schemas), **_refusals(route, schemas)},
        "security": [{"key": [scope]} for scope in sorted(route.scopes)],
    }
    if route.reads_body:
        content: Document = {"schema": schemas.of(route.given)}
        if route.examples:
            content["examples"] = {name: {"value": body} for name, body in route.examples.items()}
        elif route.example is not None:
            content["example"] = route.example
        operation["requestBody"] = {
            "required": not route.given_optional,
            "content": {"application/json": content},
        }
    return {name: value for name, value in operation.items() if value not in ("", [])} | {
        "security": operation["security"]
    }


def _path_parameters(route: Route) -> list[Document]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(route, name)}
        for name in _PATH_PARAMETER.findall(route.path)
    ]


def _path_schema(route: Route, name: str) -> Document:
    if name == "id":
        for start, prefix in _ID_PREFIXES.items():
            if route.path.startswith(start):
                return {"type": "string", "pattern": f"^{prefix}_[0-9a-f]{{32}}$"}
    if name == "code":
        return {"type": "string", "enum": list(PROBLEMS)}
    return {"type": "string"}


def _query(route: Route) -> list[Document]:
    if route.given is None or route.reads_body:
        return []
    _, components = msgspec.json.schema_components([route.given])
    schema = components[route.given.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]


def _answers(route: Route, schemas: _Schemas) -> Document:
    return {str(status): _answer(route, schemas, status, kind) for status, kind in _ordered(route)}


def _ordered(route: Route) -> list[tuple[int, type | None]]:
    return sorted(route.answers.items())


def _answer(route: Route, schemas: _Schemas, status: int, kind: type | None) -> Document:
    answer: Document = {
        "description": _STATUS[status],
        "headers": response_headers(route, status),
    }
    if kind is not None:
        content: Document = {"schema": schemas.of(kind)}
        if kind in ANSWERS:
            content["example"] = msgspec.json.decode(msgspec.json.encode(ANSWERS[kind]))
        answer["content"] = {"application/json": content}
    elif status == 200:  # noqa: PLR2004 - HTTP
        answer["content"] = {media: _text(route, schemas) for media in route.media}
    if route.links and kind is not None:
        answer["links"] = {
            name: {"operationId": operation, "parameters": {parameter: expression}}
            for name, (operation, parameter, expression) in route.links.items()
        }
    return answer


def _text(route: Route, schemas: _Schemas) -> Document:
    """A body that is no JSON; of server-sent events, what is in the `data` of each by its name."""
    content: Document = {"schema": {"type": "string"}}
    if route.stream:
        content["x-events"] = {name: schemas.of(kind) for name, kind in route.stream.items()}
    return content


_STATUS: Mapping[int, str] = {
    200: "Done.",
    201: "Made.",
    202: "Accepted; it goes on by itself.",
    204: "Nothing more will come.",
    304: "Not modified.",
}


def refusal_codes(route: Route) -> tuple[str, ...]:
    """Every code that the route may answer with, in the order of the table."""
    codes = {"internal", *route.refusals}
    if route.scopes:
        codes |= {"unauthenticated", "forbidden", "unavailable", "shutting_down"}
    if route.given is not None or route.conditional == "If-Match":
        codes |= {"invalid_input"}
    if route.reads_body:
        codes |= {
            "malformed_request",
            "request_timeout",
            "body_too_large",
            "unsupported_media_type",
        }
    if route.method == "POST":
        codes |= {"overloaded", "shutting_down", "outcome_unknown", "command_rejected"}
    if route.idempotent:
        codes |= {"idempotency_key_in_flight", "idempotency_key_reused", "invalid_input"}
    return tuple(code for code in PROBLEMS if code in codes)


def _refusals(route: Route, schemas: _Schemas) -> Document:
    by_status: dict[int, list[str]] = {}
    for code in refusal_codes(route):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {str(s): _refusal(route, schemas, s, by_status[s]) for s in sorted(by_status)}


def _refusal(route: Route, schemas: _Schemas, status: int, codes: list[str]) -> Document:
    return {
        "description": " ".join(f"{PROBLEMS[code].title} (`{code}`)." for code in codes),
        "headers": response_headers(route, status),
        "content": {
            "application/problem+json": {
                "schema": schemas.of(Problem),
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _example(code: str) -> object:
    entry = PROBLEMS[code]
    error = REFUSALS.get(code)
    if error is not None:
        return msgspec.json.decode(problem_answer(error, _PATH, _TRACE).body)
    return {
        "type": f"/problems/{code}",
        "title": entry.title,
        "status": entry.status,
        "detail": entry.help,
        "instance": _PATH,
        "code": code,
        "trace_id": _TRACE.trace_id,
        "credits": {"charged": 0, "released": 0},
    }
