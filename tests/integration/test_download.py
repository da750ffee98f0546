"""A download brings the file whole or leaves nothing, and says whose fault it was."""

# ruff: noqa: ASYNC240 - a test may block its own loop

from __future__ import annotations

import asyncio
import hashlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from adapters.addresses import AddressGuard
from adapters.download import Downloads, DownloadTimeouts
from adapters.uploads import Uploads
from tallystick.handler import FetchedFile, TaskFailure
from tests.integration.hostile_addresses import ResolverAnswer
from tests.integration.media_server import CLIP, MediaServer, serve_media

LIMIT = 5_000_000
IMPATIENT = DownloadTimeouts(connect_seconds=5, read_seconds=0.3, total_seconds=30)


@pytest.fixture
async def server() -> AsyncIterator[MediaServer]:
    async with serve_media() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "scratch" / "media"


@pytest.fixture
def fetch(target: Path) -> Downloads:
    target.parent.mkdir()
    return Downloads(AddressGuard(allow_loopback=True), timeouts=IMPATIENT)


async def failure_of(fetch: Downloads, url: str, target: Path, limit: int = LIMIT) -> TaskFailure:
    """The failure that fetching ends in, after checking that nothing is left on disk."""
    with pytest.raises(TaskFailure) as failure:
        await fetch(url, target, size_bytes_max=limit)
    assert list(target.parent.iterdir()) == []
    return failure.value


async def test_a_real_file_arrives_whole(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    fetched = await fetch(server.url("/clip"), target, size_bytes_max=LIMIT)
    assert fetched == FetchedFile(
        url=server.url("/clip"), content_type="video/mp4", size_bytes=CLIP.stat().st_size
    )
    assert hashlib.sha256(target.read_bytes()).digest() == (
        hashlib.sha256(CLIP.read_bytes()).digest()
    )


async def test_bytes_are_reported_as_they_arrive(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    seen: list[tuple[int, int | None]] = []

    async def report(size_bytes: int, total: int | None) -> None:
        seen.append((size_bytes, total))

    await fetch(server.url("/clip"), target, size_bytes_max=LIMIT, report=report)
    size = CLIP.stat().st_size
    assert seen == [(1024 * 1024, size), (size, size)]


async def test_a_chunked_body_arrives_whole(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    fetched = await fetch(server.url("/chunked"), target, size_bytes_max=LIMIT)
    assert target.read_bytes() == b"hello" * 4
    assert fetched.size_bytes == 20


async def test_a_body_longer_than_declared_is_cut_at_what_was_declared(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    await fetch(server.url("/long"), target, size_bytes_max=LIMIT)
    assert target.read_bytes() == b"hello"


async def test_an_empty_body_is_an_empty_file(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    assert (await fetch(server.url("/empty"), target, size_bytes_max=LIMIT)).size_bytes == 0


@pytest.mark.parametrize("path", ["/hops-4", "/cookie", "/redirect-endless"])
async def test_up_to_five_redirects_are_followed(
    server: MediaServer, fetch: Downloads, target: Path, path: str
) -> None:
    fetched = await fetch(server.url(path), target, size_bytes_max=LIMIT)
    assert fetched.url == server.url("/clip")
    assert target.stat().st_size == CLIP.stat().st_size


@pytest.mark.parametrize(
    ("path", "failure_type"),
    [
        ("/missing", "param_error"),
        ("/401", "param_error"),
        ("/403", "param_error"),
        ("/410", "param_error"),
        ("/204", "param_error"),
        ("/206", "param_error"),
        ("/300", "param_error"),
        ("/304", "param_error"),
        ("/no-location", "param_error"),
        ("/gzip", "param_error"),
        ("/huge", "param_error"),
        ("/hops-5", "param_error"),
        ("/loop", "param_error"),
        ("/to-file", "param_error"),
        ("/to-private", "param_error"),
        ("/408", "network"),
        ("/500", "network"),
        ("/503", "network"),
        ("/short", "network"),
        ("/stall", "network"),
        ("/stall-body", "network"),
        ("/reset", "network"),
        ("/hang-up", "network"),
        ("/garbage", "network"),
        ("/huge-headers", "network"),
        ("/bad-location", "network"),
        ("/absurd-length", "network"),
        ("/negative-length", "network"),
        ("/429", "rate_limited"),
        ("/429-date", "rate_limited"),
    ],
)
async def test_what_servers_do_wrong_is_told_apart(
    server: MediaServer, fetch: Downloads, target: Path, path: str, failure_type: str
) -> None:
    failure = await failure_of(fetch, server.url(path), target)
    assert failure.type == failure_type
    assert "127.0.0.1" not in failure.message


@pytest.mark.parametrize(
    ("path", "seconds"),
    [("/429", 12), ("/429-date", 90), ("/503", 7), ("/429-junk", None), ("/429-never", 3600)],
)
async def test_the_wait_a_server_asks_for_is_passed_on_within_reason(
    server: MediaServer, fetch: Downloads, target: Path, path: str, seconds: int | None
) -> None:
    assert (await failure_of(fetch, server.url(path), target)).retry_after_seconds == seconds


async def test_a_file_of_exactly_the_limit_is_taken(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    await fetch(server.url("/chunked"), target, size_bytes_max=20)
    assert target.stat().st_size == 20


@pytest.mark.parametrize(("path", "limit"), [("/clip", 1_000_000), ("/chunked", 19)])
async def test_a_file_over_the_limit_is_refused(
    server: MediaServer, fetch: Downloads, target: Path, path: str, limit: int
) -> None:
    failure = await failure_of(fetch, server.url(path), target, limit)
    assert failure.type == "param_error"
    assert f"{limit:,}" in failure.message


async def test_the_limit_of_the_service_is_below_any_that_is_asked_for(
    server: MediaServer, fetch: Downloads, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 21)
    guard = AddressGuard(allow_loopback=True)
    small = Downloads(guard, uploads=Uploads(tmp_path), size_bytes_max=19)
    assert (await failure_of(small, server.url("/chunked"), target)).type == "param_error"
    with pytest.raises(TaskFailure):
        await small.upload("file", target, size_bytes_max=LIMIT)
    await fetch(server.url("/chunked"), target, size_bytes_max=LIMIT)


async def test_an_undeclared_endless_body_is_cut_off(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    failure = await failure_of(fetch, server.url("/endless"), target)
    assert failure.type == "param_error"
    await asyncio.wait_for(server.hung_up.wait(), 10)


async def test_a_server_that_trickles_for_ever_is_given_up(
    server: MediaServer, target: Path, fetch: Downloads
) -> None:
    del fetch
    short = DownloadTimeouts(connect_seconds=5, read_seconds=5, total_seconds=0.5)
    patient = Downloads(AddressGuard(allow_loopback=True), timeouts=short)
    failure = await failure_of(patient, server.url("/endless"), target, 10**12)
    assert failure.type == "network"


async def test_nothing_listening_is_a_network_failure(fetch: Downloads, target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failure = await failure_of(fetch, f"http://127.0.0.1:{taken.getsockname()[1]}/", target)
    assert failure.type == "network"


async def test_cancelling_hangs_up_and_leaves_nothing(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    started = asyncio.Event()

    async def report(_size_bytes: int, _total: int | None) -> None:
        started.set()

    download = asyncio.create_task(
        fetch(server.url("/endless"), target, size_bytes_max=10**12, report=report)
    )
    await asyncio.wait_for(started.wait(), 10)
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    assert list(target.parent.iterdir()) == []
    await asyncio.wait_for(server.hung_up.wait(), 10)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow past half a megabyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
async def test_a_full_disk_is_a_storage_failure(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    assert (await failure_of(fetch, server.url("/clip"), target)).type == "storage"


async def test_an_existing_file_is_never_overwritten(
    server: MediaServer, fetch: Downloads, target: Path
) -> None:
    target.write_bytes(b"mine")
    with pytest.raises(TaskFailure) as failure:
        await fetch(server.url("/clip"), target, size_bytes_max=LIMIT)
    assert failure.value.type == "storage"
    assert target.read_bytes() == b"mine"


async def test_the_environment_adds_neither_proxy_nor_credentials(
    server: MediaServer,
    fetch: Downloads,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    await fetch(server.url("/clip"), target, size_bytes_max=LIMIT)
    assert set(server.headers[0]) == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
    }
    assert server.headers[0]["accept-encoding"] == "identity"


async def test_one_download_keeps_nothing_for_the_next(
    server: MediaServer, fetch: Downloads, tmp_path: Path
) -> None:
    await fetch(server.url("/cookie"), tmp_path / "first", size_bytes_max=LIMIT)
    await fetch(server.url("/clip"), tmp_path / "second", size_bytes_max=LIMIT)
    assert server.headers[1]["cookie"] == "session=secret"
    assert "cookie" not in server.headers[2]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this process trusts."""
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return trusted


def tls_for(name: str, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def resolve_to_loopback(_host: str, port: int, *_: object) -> list[ResolverAnswer]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


async def test_tls_and_host_name_the_url_though_the_address_is_pinned(
    authority: trustme.CA, tmp_path: Path
) -> None:
    names: list[str | None] = []
    tls = tls_for("media.example", authority)
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    guard = AddressGuard(allow_loopback=True, resolver=resolve_to_loopback)
    async with serve_media(tls) as server:
        url = server.url("/clip", host="media.example")
        await Downloads(guard)(url, tmp_path / "media", size_bytes_max=LIMIT)
        assert server.headers[0]["host"] == f"media.example:{server.port}"
    assert names == ["media.example"]


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_for_somebody_else_is_refused(
    authority: trustme.CA, target: Path, *, trusted: bool
) -> None:
    target.parent.mkdir()
    tls = tls_for("other.example", authority) if trusted else tls_for("media.example", trustme.CA())
    fetch = Downloads(AddressGuard(allow_loopback=True, resolver=resolve_to_loopback))
    async with serve_media(tls) as server:
        failure = await failure_of(fetch, server.url("/clip", host="media.example"), target)
        assert server.lines == []
    assert failure.type == "param_error"
    assert "certificate" in failure.message
