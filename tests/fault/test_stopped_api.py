"""A real `tallystick serve`, told to stop while all kinds of clients keep it busy at once."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from msgspec import Raw

from domain.failure import failure
from service.bootstrap import Service, open_service
from service.command import Origin
from service.identifiers import new_id, public_id
from service.settings import Settings
from service.submission import Submission
from tests.e2e.tallystick_process import Home, Running
from tests.integration.http.sse import Heard, Listener

pytestmark = pytest.mark.fault
ORIGIN = Origin(actor="test")
GRACE_SECONDS = 20
TAKE_SECONDS = 3
"""What a client may take nothing for."""
SECONDS_MAX = 60.0
BULKY_FACTS = 600
"""Of 2 kB each: more than the buffers between two sockets take."""
PIPELINED = 6
WORKED_ON = "media_extraction"


@pytest.fixture
async def service(database: str, tmp_path: Path) -> AsyncIterator[Service]:
    """The parts of another process, which writes the facts."""
    async with open_service(Settings(database_url=database, data_folder=tmp_path / "x")) as opened:
        yield opened


class Clients:
    """One account's clients of a process; what they have open is closed with `stack`."""

    def __init__(self, http: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self.http = http
        self.stack = stack

    async def stream(self, path: str, after: int | None = None) -> Listener:
        headers = {} if after is None else {"last-event-id": str(after)}
        opening = self.http.stream("GET", path, headers=headers)
        response = await self.stack.enter_async_context(opening)
        assert response.status_code == 200, await response.aread()
        return Listener(response)

    def wait(self, path: str) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(self.http.get(path, headers={"prefer": "wait=60"}))

    async def send(self, request: str, *, times: int = 1) -> socket.socket:
        """A connection with as little room as the system allows, of which nothing is read."""
        connection = socket.socket()
        self.stack.callback(connection.close)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.settimeout(0)
        loop, url = asyncio.get_running_loop(), self.http.base_url
        await loop.sock_connect(connection, (url.host, url.port))
        first, _, body = request.partition("\n\n")
        key = self.http.headers["authorization"]
        lines = [*first.splitlines(), "host: x", f"authorization: {key}", ""]
        await loop.sock_sendall(connection, ("\r\n".join([*lines, body]) * times).encode())
        return connection

    async def until(self, *figures: str) -> None:
        """Wait until the process shows them all."""
        shown = ""
        async with asyncio.timeout(SECONDS_MAX):
            while not all(figure in shown for figure in figures):
                shown = (await self.http.get("/metrics")).text


async def test_all_kinds_of_clients_at_once_hold_up_no_stop_and_lose_nothing(
    service: Service, database: str, tmp_path: Path
) -> None:
    home = Home(
        tmp_path,
        database,
        {
            "TALLYSTICK_DRAIN_SECONDS_MAX": str(GRACE_SECONDS),
            "TALLYSTICK_HTTP_TAKE_SECONDS_MAX": str(TAKE_SECONDS),
            "TALLYSTICK_STREAM_BUFFER_BYTES_MAX": str(16 * 2**20),
        },
    )
    account_id, secret = await _account(service)
    with home.started("serve") as first, home.started("serve") as second:
        async with _clients(first, secret) as clients:
            told = await _stop_while_all_are_served(service, account_id, clients, first)
        async with _clients(second, secret) as clients:
            await _resume(service, account_id, clients, told)
        assert second.end() == 0


async def _stop_while_all_are_served(
    service: Service, account_id: UUID, clients: Clients, process: Running
) -> dict[str, list[Heard]]:
    """What was told on each stream up to its end; by path."""
    task_id = await _submit(service, account_id)
    path = f"/v1/tasks/{public_id('task', task_id)}"
    listeners = {one: await clients.stream(one) for one in (f"{path}/events", "/v1/events")}
    waits = [clients.wait(path) for _ in range(3)]
    await asyncio.gather(*(_grant(service, account_id, number) for number in range(BULKY_FACTS)))
    await clients.send("GET /v1/events HTTP/1.1\nlast-event-id: 0\n\n")
    never_reads = "GET /openapi.json HTTP/1.1\n\n"
    await clients.send(never_reads)
    await clients.send(never_reads, times=PIPELINED)
    slow = await clients.send(
        "POST /v1/tasks HTTP/1.1\ncontent-type: application/json\ncontent-length: 99\n\n{"
    )
    await clients.until(
        "tallystick_http_streams 3.0",
        "tallystick_http_waiting 3.0",
        'tallystick_http_requests_total{method="GET",route="/openapi.json",status="200"}',
    )
    (task,) = await service.attempts.claim("w", [WORKED_ON], 1)
    heard = {one: await listener.until("task.started") for one, listener in listeners.items()}

    process.process.send_signal(signal.SIGTERM)
    answers = await asyncio.gather(*waits)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.json()["id"] for answer in answers} == {public_id("task", task.id)}
    for one, listener in listeners.items():
        # One that is cut instead of ended raises here.
        heard[one] += await listener.rest()
    assert b" 503 " in (await _read(slow)).partition(b"\r\n")[0]
    status = await asyncio.to_thread(process.process.wait, SECONDS_MAX)
    said = "".join(process.rest())
    assert status == 0, said
    assert "graceful shutdown exceeded" not in said, "somebody held it up to the end of the grace"
    await service.attempts.fail(
        task.id, account_id, token=task.token, failure=failure("model_error"), worker="w"
    )
    return heard


async def _resume(
    service: Service, account_id: UUID, clients: Clients, heard: dict[str, list[Heard]]
) -> None:
    """Elsewhere, from what came last: each fact once, in its order."""
    log = await service.log.read(0, 10_000)
    task_ids = {one.event.originator_id for one in log if one.event.TOPIC == "task.submitted"}
    for path, before in heard.items():
        streams = task_ids if path.startswith("/v1/tasks") else {*task_ids, account_id}
        began, *facts = before
        wanted = [
            one.position
            for one in log
            if one.event.originator_id in streams and one.position > (began.id or 0)
        ]
        listener = await clients.stream(path, after=before[-1].id)
        while not facts or facts[-1].id != wanted[-1]:
            event = await listener.next()
            assert event is not None
            facts.append(event)
        assert [fact.id for fact in facts if fact.is_fact] == wanted


@asynccontextmanager
async def _clients(process: Running, secret: str) -> AsyncIterator[Clients]:
    url = process.wait_for("Tallystick listens at ").split()[-1]
    headers = {"authorization": f"Bearer {secret}"}
    async with (
        AsyncExitStack() as stack,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=SECONDS_MAX, verify=False) as http,  # noqa: S501
    ):
        yield Clients(http, stack)


async def _account(service: Service) -> tuple[UUID, str]:
    """Its id, and the secret of its key."""
    account_id = new_id()
    await service.bus.open_account(account_id, plan="unlimited", name=None, origin=ORIGIN)
    await _grant(service, account_id, -1)
    key = await service.keys.create("user", name="key", account_id=account_id)
    return account_id, key.secret


async def _submit(service: Service, account_id: UUID) -> UUID:
    submission = Submission(
        task_id=new_id(),
        account_id=account_id,
        type=WORKED_ON,
        input=Raw(b'{"url": "https://example.com/clip.mp4"}'),
    )
    await service.bus.submit(submission, origin=ORIGIN)
    return submission.task_id


async def _grant(service: Service, account_id: UUID, number: int) -> None:
    await service.bus.grant(
        account_id,
        amount=100,
        kind="paid",
        source_ref=f"much {number}",
        reason="x" * 2_000,
        origin=ORIGIN,
    )


async def _read(connection: socket.socket) -> bytes:
    """All that comes to its end."""
    data = b""
    with suppress(ConnectionError):
        while piece := await asyncio.get_running_loop().sock_recv(connection, 65_536):
            data += piece
    return data
