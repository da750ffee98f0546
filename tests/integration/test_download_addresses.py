"""QUALITY 14: however a private place is spelled or reached, no TCP connection is tried.

Connections are seen by an audit hook, below every library: each `connect` of this process is
recorded and refused. What was refused by us has no record.
"""

# ruff: noqa: ASYNC240 - a test may block its own loop

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import httpx
import pytest

from adapters.addresses import AddressGuard
from adapters.download import Downloads, DownloadTimeouts
from tallystick.handler import TaskFailure
from tests.integration.connect_trap import PUBLIC, PUBLIC_V6, Connects, armed, resolved_by
from tests.integration.hostile_addresses import (
    ANSWERS,
    AUTHORITIES,
    SCHEMES,
    SPELLINGS,
    ResolverAnswer,
)


@pytest.fixture(autouse=True)
def connects() -> Iterator[Connects]:
    """The connections tried during the test."""
    with armed() as tried:
        yield tried


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the name server answers."""
    answers = {"public.example": [PUBLIC]}
    resolved_by(answers, monkeypatch)
    return answers


class FirstHop(httpx.AsyncBaseTransport):
    """Answers the first request with a redirect to `location`; the rest goes the guarded way."""

    def __init__(self, location: str, guarded: httpx.AsyncBaseTransport) -> None:
        self.location = location
        self.guarded = guarded
        self.passed: list[httpx.URL] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.passed.append(request.url)
        if len(self.passed) > 1:
            return await self.guarded.handle_async_request(request)
        return httpx.Response(302, headers=[(b"location", self.location.encode())])


class RedirectedGuard(AddressGuard):
    """The guard itself, behind a first server that redirects."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location
        self.first_hops: list[FirstHop] = []

    def client(self, *, timeout: httpx.Timeout, headers: dict[str, str]) -> httpx.AsyncClient:
        client = super().client(timeout=timeout, headers=headers)
        client._transport = FirstHop(self.location, client._transport)
        self.first_hops.append(client._transport)
        return client


async def failure_of(guard: AddressGuard, url: str, folder: Path) -> TaskFailure:
    with pytest.raises(TaskFailure) as failure:
        await Downloads(guard)(url, folder / "media", size_bytes_max=1000)
    assert list(folder.iterdir()) == []
    return failure.value


async def test_the_trap_sees_connections_to_public_addresses(
    connects: Connects, tmp_path: Path
) -> None:
    """The other tests could not fail if it did not."""
    failure = await failure_of(AddressGuard(), "http://public.example/", tmp_path)
    assert failure.type == "network"
    assert connects == [(PUBLIC, 80)]


async def test_the_trap_sees_connections_after_a_redirect(
    connects: Connects, tmp_path: Path
) -> None:
    guard = RedirectedGuard("http://public.example:8080/next")
    assert (await failure_of(guard, "http://public.example/", tmp_path)).type == "network"
    assert connects == [(PUBLIC, 8080)]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", [*SPELLINGS, *AUTHORITIES])
async def test_a_private_place_in_the_url_is_refused(
    scheme: str, host: str, connects: Connects, tmp_path: Path
) -> None:
    failure = await failure_of(AddressGuard(), f"{scheme}://{host}/video.mp4", tmp_path)
    assert connects == []
    assert failure.type == "param_error"


@pytest.mark.parametrize("host", [host for host in (*SPELLINGS, *AUTHORITIES) if host])
async def test_a_private_place_in_a_redirect_is_refused(
    host: str, connects: Connects, tmp_path: Path
) -> None:
    guard = RedirectedGuard(f"http://{host}/video.mp4")
    failure = await failure_of(guard, "http://public.example/", tmp_path)
    assert len(guard.first_hops[0].passed) >= 1
    assert connects == []
    assert failure.type in {"param_error", "network"}


@pytest.mark.parametrize("url", SCHEMES)
async def test_other_schemes_are_refused(url: str, connects: Connects, tmp_path: Path) -> None:
    assert (await failure_of(AddressGuard(), url, tmp_path)).type == "param_error"
    assert connects == []


@pytest.mark.parametrize("address", ANSWERS)
async def test_a_name_that_resolves_to_a_private_address_is_refused(
    address: str, names: dict[str, list[str]], connects: Connects, tmp_path: Path
) -> None:
    names["rebound.example"] = [address]
    failure = await failure_of(AddressGuard(), "http://rebound.example/", tmp_path)
    assert failure.type == "param_error"
    assert address not in failure.message
    assert connects == []


@pytest.mark.parametrize("address", ANSWERS)
async def test_a_redirect_to_a_name_that_resolves_to_a_private_address_is_refused(
    address: str, names: dict[str, list[str]], connects: Connects, tmp_path: Path
) -> None:
    names["rebound.example"] = [address]
    guard = RedirectedGuard("http://rebound.example/")
    assert (await failure_of(guard, "http://public.example/", tmp_path)).type == "param_error"
    assert connects == []


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("address", ANSWERS)
async def test_one_private_answer_among_public_ones_refuses_the_name(
    address: str,
    names: dict[str, list[str]],
    connects: Connects,
    tmp_path: Path,
    *,
    first: bool,
) -> None:
    public = [PUBLIC, PUBLIC_V6]
    names["mixed.example"] = [address, *public] if first else [*public, address]
    failure = await failure_of(AddressGuard(), "http://mixed.example/", tmp_path)
    assert failure.type == "param_error"
    assert connects == []


@pytest.mark.parametrize("address", ANSWERS)
async def test_a_name_that_changes_its_answer_is_resolved_once_and_pinned(
    address: str, connects: Connects, tmp_path: Path
) -> None:
    """A resolver that turns private after the check: nobody asks it again."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    later = (family, socket.SOCK_STREAM, 6, "", (address, 80))
    asked: list[str] = []

    def rebinding(host: str, port: int, *_: object) -> list[ResolverAnswer]:
        asked.append(host)
        now = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, port))
        return [now] if len(asked) == 1 else [later]

    guard = AddressGuard(resolver=rebinding)
    assert (await failure_of(guard, "http://rebind.example/", tmp_path)).type == "network"
    assert asked == ["rebind.example"]
    assert connects == [(PUBLIC, 80)]


@pytest.mark.parametrize("address", ANSWERS)
async def test_development_opens_loopback_and_no_more(
    address: str, names: dict[str, list[str]], connects: Connects, tmp_path: Path
) -> None:
    names["named.example"] = [address]
    guard = AddressGuard(allow_loopback=True)
    failure = await failure_of(guard, "http://named.example/", tmp_path)
    loopback = address == "::1" or address.startswith("127.")
    assert failure.type == ("network" if loopback else "param_error")
    assert [host for host, _ in connects] == ([address] if loopback else [])


async def test_a_name_that_does_not_resolve_is_a_network_failure(
    monkeypatch: pytest.MonkeyPatch, connects: Connects, tmp_path: Path
) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failure = await failure_of(AddressGuard(), "http://nowhere.example/", tmp_path)
    assert failure.type == "network"
    assert connects == []


async def test_many_public_answers_are_not_all_tried(
    names: dict[str, list[str]], connects: Connects, tmp_path: Path
) -> None:
    """A name with two hundred silent addresses would cost two hundred time-outs."""
    names["many.example"] = [f"93.184.215.{last}" for last in range(1, 200)]
    await failure_of(AddressGuard(), "http://many.example/", tmp_path)
    assert len(connects) == 4


async def test_a_slow_name_server_is_given_up(connects: Connects, tmp_path: Path) -> None:
    answer_late = Event()

    def stalling(*_: object) -> list[ResolverAnswer]:
        answer_late.wait(30)
        raise socket.gaierror

    fetch = Downloads(AddressGuard(resolver=stalling), timeouts=DownloadTimeouts(total_seconds=0.2))
    try:
        with pytest.raises(TaskFailure) as failure:
            await asyncio.wait_for(
                fetch("http://slow.example/", tmp_path / "media", size_bytes_max=1), 10
            )
    finally:
        answer_late.set()
    assert failure.value.type == "network"
    assert connects == []
