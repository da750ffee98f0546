"""A time that no reader could write is refused by its name, on every route that takes one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

import httpx
import msgspec
import pytest

from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from service.http.route import Route
from service.http.routes import ROUTES
from service.identifiers import new_id, public_id
from tests.integration.http.api import Api

BEFORE_ALL, AFTER_ALL = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"


def _times(kind: type[msgspec.Struct]) -> Iterator[tuple[str, ...]]:
    """The path of each field that takes a time."""
    for name, type_ in get_type_hints(kind).items():
        parts = {type_, *get_args(type_)}
        if datetime in parts:
            yield (name,)
        for part in parts:
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from ((name, *path) for path in _times(part))


TAKERS = [
    (route, path) for route in ROUTES if route.given is not None for path in _times(route.given)
]


async def _sent(api: Api, route: Route, path: tuple[str, ...], at: str) -> httpx.Response:
    """The route's good request, but for this time; it is refused before ids are looked at."""
    url = re.sub(r"{\w+}", public_id("task", new_id()), route.path)
    as_ = next(iter(sorted(route.scopes)))
    if not route.reads_body:
        return await api.get(f"{url}?{path[0]}={quote(at)}", as_)
    value: Any = at
    for name in reversed(path):
        value = {name: value}
    assert isinstance(route.example, dict)
    return await api.post(url, route.example | value, as_)


@pytest.mark.parametrize("at", [BEFORE_ALL, AFTER_ALL])
async def test_a_time_beyond_the_calendar_is_refused_by_its_name(api: Api, at: str) -> None:
    head = await api.service.log.head()
    named = {}
    for route, path in TAKERS:
        answer = await _sent(api, route, path, at)
        problem = answer.json()
        [wrong] = problem["errors"]
        named[route.name, path] = (answer.status_code, wrong.get("parameter", wrong.get("pointer")))
    assert named == {
        (route.name, path): (400, ("/" if route.reads_body else "") + "/".join(path))
        for route, path in TAKERS
    }
    assert len(named) > 10
    assert await api.service.log.head() == head


async def test_times_as_far_as_they_go_are_taken(api: Api) -> None:
    """The grants are paged, which reads them out of the cursor again."""
    path = f"/v1/accounts/{api.account_id}/grants"
    for number in range(3):
        given = {"amount": 1, "kind": "paid", "source_ref": f"far {number}", "reason": "r"}
        given["expires_at"] = "9999-12-31T00:00:00Z"
        assert (await api.post(path, given, "admin")).status_code == 200
    page, seen = (await api.get(f"{path}?limit=1", "admin")).json(), 1
    while page["has_more"]:
        page = (await api.get(f"{path}?limit=1&cursor={page['next_cursor']}", "admin")).json()
        seen += 1
    assert seen == 4
    differing = (await compare_inline(api.service.dsn, EventMapper())).differences
    assert differing == ()
    kept = {"scope": "worker", "name": "long", "expires_at": "9999-12-31T00:00:00Z"}
    assert (await api.post("/v1/keys", kept, "admin")).status_code == 201
    assert (await api.get("/v1/keys", "admin")).status_code == 200
    assert (await api.get("/v1/statistics?until=1000-01-01T00:00:00Z", "admin")).status_code == 200
