"""Every route of the OpenAPI document, with every key that must not pass."""

from __future__ import annotations

import re
from typing import Any

import httpx

from service.http.app import litestar_routes
from service.http.openapi import openapi_document
from service.identifiers import new_id, parse_id, public_id
from tests.integration.http.api import Api

SCOPES = ("user", "worker", "admin")


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, operations in openapi_document()["paths"].items()
        for method, operation in operations.items()
    ]


def _scopes(operation: dict[str, Any]) -> set[str]:
    return {scope for requirement in operation["security"] for scope in requirement["key"]}


def _path(api: Api, template: str, there: dict[str, str]) -> str:
    """The template with ids of things that are there."""
    found = [value for start, value in there.items() if template.startswith(start)]
    return re.sub(r"\{id\}", (found or [public_id("acct", api.other_account)])[0], template)


async def _call(api: Api, method: str, path: str, body: object, as_: str | None) -> httpx.Response:
    if method == "GET":
        return await api.get(path, as_)
    return await api.post(path, body, as_)


def _body(operation: dict[str, Any]) -> object:
    """The documented example, or the first of several, which is a good request."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    several = [example["value"] for example in content.get("examples", {}).values()]
    return several[0] if several else content.get("example")


async def test_every_protected_route_refuses_every_key_but_those_documented(api: Api) -> None:
    task_id = (await api.submit(as_="other"))["id"]
    nightly = {"cron": "0 3 * * *", "type": "double", "input": {"n": 1}}
    schedule_id = (await api.post("/v1/schedules", nightly, "other")).json()["id"]
    board = {"kind": "board", "members": [{"type": "double", "input": {"n": 1}}]}
    group_id = (await api.post("/v1/groups", board, "other")).json()["id"]
    spare = await api.service.keys.create("worker", name="spare")
    there = {
        "/v1/tasks": task_id,
        "/v1/worker": task_id,
        "/v1/keys": public_id("key", spare.key.id),
        "/v1/schedules": schedule_id,
        "/v1/groups": group_id,
    }
    await _make_bad_keys(api)
    before = await _state(api)
    refused = 0
    for method, template, operation in _operations():
        scopes = _scopes(operation)
        if not scopes:
            continue
        path = _path(api, template, there)
        body = _body(operation)
        for as_ in (None, "expired", "revoked", "unknown"):
            answer = await _call(api, method, path, body, as_)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            refused += 1
        for as_ in sorted(set(SCOPES) - scopes):
            answer = await _call(api, method, path, body, as_)
            assert (as_, path, answer.status_code) == (as_, path, 403)
            refused += 1
        if "user" in scopes and "{id}" in template:
            answer = await _call(api, method, path, body, "user")
            assert (path, answer.status_code, answer.json()["code"]) == (path, 404, "not_found")
            refused += 1
    assert refused > 100
    assert await _state(api) == before


async def test_routes_without_a_key_are_only_those_of_operation(api: Api) -> None:
    open_paths = {path for _, path, operation in _operations() if not _scopes(operation)}

    assert open_paths == {
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/{asset}",
        "/problems/{code}",
    }
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"):
        assert (await api.get(path, None)).status_code == 200


async def test_documented_routes_are_those_that_litestar_has(api: Api) -> None:
    documented: dict[str, set[str]] = {}
    for method, path, _ in _operations():
        documented.setdefault(path, set()).add(method)

    routed = {re.sub(r":\w+", "", route.path) for route in litestar_routes().routes}
    assert routed == documented.keys()
    # OPTIONS itself is in no document, to which the API's own client holds all answers.
    async with httpx.AsyncClient(base_url=api.url) as client:
        for path, methods in documented.items():
            answer = await client.options(path.replace("{", "").replace("}", ""))
            assert answer.status_code == 204
            assert {*answer.headers["allow"].split(", ")} == {*methods, "OPTIONS"}


async def _make_bad_keys(api: Api) -> None:
    keys = api.service.keys
    past = api.service.clock.now()
    expired = await keys.create("admin", name="expired", expires_at=past)
    revoked = await keys.create("admin", name="revoked")
    await keys.revoke(revoked.key.id)
    api.secrets |= {
        "expired": expired.secret,
        "revoked": revoked.secret,
        "unknown": "tsk_" + "0" * 12 + "_" + "0" * 64,
    }


async def _state(api: Api) -> tuple[int, int]:
    """Position of the log, and number of keys: what any of these calls would have moved."""
    return await api.service.log.head(), len(await api.service.keys.page())


async def test_a_worker_of_scope_worker_cannot_see_accounts_by_id(api: Api) -> None:
    for as_ in ("user", "worker"):
        answer = await api.get(f"/v1/accounts/{public_id('acct', new_id())}", as_)
        assert answer.status_code == 403
    assert parse_id("acct", api.account_id) == api.account
