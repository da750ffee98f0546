"""The API on a real server and socket; every answer is held to the OpenAPI document."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import uvicorn
from jsonschema import Draft202012Validator

from service.bootstrap import Service, open_service
from service.command import Origin
from service.http.app import create_app
from service.http.openapi import openapi_document
from service.http.server_protocol import PatientProtocol
from service.identifiers import new_id, public_id
from service.processes import listen, url_of
from service.settings import Settings
from tallystick.handler import Context, Handler, handler

PRICE = 5
CREDITS = 1_000
LASTING_LIMITS = {
    *("grants_max", "voided_max", "hold_slices_max", "refunds_max"),
    *("schedules_max", "paused_gates_max"),
}
"""Limits that time alone does not lift."""
SETUP = Origin(actor="setup")
FINAL = {"type": "network", "retryable": False}
"""A failure after which no attempt follows."""
JSON = {"content-type": "application/json"}


class Numbers(msgspec.Struct):
    n: int
    note: str = ""


class Doubled(msgspec.Struct):
    n: int


@handler("double", price_credits=PRICE, stages={"half": 50})
async def double(given: Numbers, _: Context) -> Doubled:
    """Twice the number."""
    return Doubled(n=2 * given.n)


class Api:
    """A running API with an account that has credits, another one, and a key of each kind."""

    def __init__(self, service: Service, url: str, stop: asyncio.Event) -> None:
        self.service = service
        self.url = url
        self.stop = stop
        self.port = int(url.rpartition(":")[2])
        self.secrets: dict[str, str] = {}
        self.account = new_id()
        self.other_account = new_id()
        self.client = httpx.AsyncClient(
            base_url=url,
            event_hooks={"response": [_hold_to_document]},
            timeout=30,
            # Reading the authorities takes longer than most tests, and nothing here is TLS.
            verify=False,  # noqa: S501
        )

    async def prepare(self) -> None:
        for account_id in (self.account, self.other_account):
            await self.open_account(account_id)
        for name, account in (("user", self.account), ("other", self.other_account)):
            self.secrets[name] = (
                await self.service.keys.create("user", name=name, account_id=account)
            ).secret
        for scope in ("worker", "admin"):
            key = await self.service.keys.create(scope, name=scope)
            self.secrets[scope] = key.secret

    async def open_account(
        self, account_id: UUID, *, plan: str = "standard", funds: int = CREDITS
    ) -> None:
        bus = self.service.bus
        await bus.open_account(account_id, plan=plan, name=None, origin=SETUP)
        if funds:
            await bus.grant(
                account_id, amount=funds, kind="paid", source_ref="1", reason="", origin=SETUP
            )

    async def key_of(self, account_id: UUID) -> str:
        """Name of a new key for an account, to send requests `as_`."""
        key = await self.service.keys.create("user", name="more", account_id=account_id)
        self.secrets[str(key.key.id)] = key.secret
        return str(key.key.id)

    @property
    def account_id(self) -> str:
        return public_id("acct", self.account)

    async def get(self, path: str, as_: str | None = "user", **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=self._headers(as_, headers))

    async def post(
        self, path: str, body: object = None, as_: str | None = "user", **headers: str
    ) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        sent = self._headers(as_, headers) | (JSON if content is not None else {})
        return await self.client.post(path, content=content, headers=sent)

    def _headers(self, as_: str | None, more: dict[str, str]) -> dict[str, str]:
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if as_ is not None:
            headers["authorization"] = f"Bearer {self.secrets[as_]}"
        return headers

    async def submit(self, n: int = 1, as_: str = "user", **more: Any) -> dict[str, Any]:
        """The accepted task."""
        body = {"type": "double", "input": {"n": n}, **more}
        answer = await self.post("/v1/tasks", body, as_)
        assert answer.status_code == 202, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def claim(self, **more: Any) -> list[dict[str, Any]]:
        """What the worker got."""
        answer = await self.post("/v1/worker/claim", {"worker": "w1", **more}, "worker")
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]  # type: ignore[no-any-return]

    async def work(self, task_id: str, verb: str, token: int, **more: Any) -> httpx.Response:
        body = {"token": token, **more}
        return await self.post(f"/v1/worker/tasks/{task_id}/{verb}", body, "worker")

    async def balance(self, account_id: UUID | None = None) -> tuple[int, int, int]:
        """Available, held and captured."""
        found = await self.service.queries.account(account_id or self.account)
        assert found is not None
        return found.available, found.held, found.captured

    async def raw(self, data: bytes) -> bytes:
        """All that the server answers to these bytes before it closes, or falls silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        writer.close()
        return head + body

    async def project(self) -> None:
        """Bring the read models behind the log up to it."""
        for projector in self.service.projectors():
            async with projector:
                while await projector.run_once():
                    pass


@asynccontextmanager
async def running_api(
    dsn: str, folder: Path, handlers: Iterable[Handler] = (), /, **settings: Any
) -> AsyncIterator[Api]:
    """Closed in the order of a process that is told to stop."""
    chosen = Settings(database_url=dsn, data_folder=folder, **settings)
    async with open_service(chosen, handlers=[double, *handlers]) as service:
        stop = asyncio.Event()
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(service, stop),
                loop="none",
                http=PatientProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=min(5, math.ceil(chosen.drain_seconds_max)),
            )
        )
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        api = Api(service, url_of(listener), stop)
        serving = asyncio.create_task(server._serve([listener]))
        try:
            await api.prepare()
            yield api
        finally:
            await api.client.aclose()
            stop.set()
            server.should_exit = True
            await serving


@cache
def _document() -> dict[str, Any]:
    return openapi_document()


@cache
def _operation_of(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in _document()["paths"].items():
        form = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        if re.fullmatch(form, path) and method.lower() in operations:
            return operations[method.lower()]  # type: ignore[no-any-return]
    return None


@cache
def _validator(pointer: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": pointer, "components": _document()["components"]})


async def _hold_to_document(response: httpx.Response) -> None:
    """Status, media type, headers and body of every answer are as documented."""
    await response.aread()
    request = response.request
    if request.method == "HEAD":
        return
    operation = _operation_of(request.method, request.url.path)
    if operation is None:
        assert response.status_code in {404, 405}
        _check_problem(response)
        return
    documented = operation["responses"].get(str(response.status_code))
    assert documented is not None, f"{response.status_code} is not documented: {response.text}"
    content = documented.get("content", {})
    if not content:
        assert not response.content
        return
    assert response.headers["content-type"] in content
    schema = content[response.headers["content-type"]]["schema"]
    if response.status_code >= 400:
        _check_problem(response)
        assert response.json()["code"] in content["application/problem+json"]["examples"]
    elif "$ref" in schema:
        _validator(schema["$ref"]).validate(response.json())
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", response.headers["traceparent"])


def _check_problem(response: httpx.Response) -> None:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    _validator("#/components/schemas/Problem").validate(problem)
    assert problem["status"] == response.status_code
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["instance"] == response.request.url.path
    assert problem["trace_id"] == response.headers["traceparent"].split("-")[1]
    assert problem["credits"] == {"charged": 0, "released": 0}
    if problem.get("limit") in LASTING_LIMITS:
        assert "retry-after" not in response.headers
    elif response.status_code in {429, 503}:
        assert int(response.headers["retry-after"]) >= 1
    if response.status_code == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")
