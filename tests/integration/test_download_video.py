"""The task type `download_video` on real video, over real HTTP, into real storage."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import trustme

from adapters.addresses import AddressGuard
from adapters.download import Downloads
from service.handlers import SHIPPED
from service.handlers.download_video import (
    SIZE_BYTES_MAX_DEFAULT,
    DownloadVideoInput,
    DownloadVideoOutput,
    download_video,
)
from service.price_files import load_prices
from service.pricing import Pricing, quantities_of
from service.task_types import TaskTypes
from tallystick.handler import TaskCancelled, TaskFailure
from tests.integration.media_clips import silence, song_with_cover
from tests.integration.media_server import (
    ANSWERS,
    CLIP,
    MediaServer,
    always,
    serve_media,
)
from tests.integration.recording_context import ACCOUNT, TASK, FullStorage, RecordingContext


@pytest.fixture
async def server() -> AsyncIterator[MediaServer]:
    async with serve_media() as running:
        yield running


@pytest.fixture
def context(tmp_path: Path) -> RecordingContext:
    return RecordingContext(tmp_path)


def read(**given: object) -> DownloadVideoInput:
    return msgspec.json.decode(msgspec.json.encode(given), type=DownloadVideoInput)


async def download(context: RecordingContext, **given: object) -> DownloadVideoOutput:
    assert download_video.function is not None
    output = await download_video.function(read(**given), context)
    assert isinstance(output, DownloadVideoOutput)
    return output


def stored_files(context: RecordingContext) -> list[str]:
    """Whatever lies in the store, half objects too."""
    root = context.folder.parent / "objects"
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]


async def test_a_video_is_stored_as_it_came_and_described_as_it_is(
    server: MediaServer, context: RecordingContext
) -> None:
    output = await download(context, url=server.url("/hops-2"))
    clip = CLIP.read_bytes()
    assert output.video.key == f"{ACCOUNT}/{TASK}/video.mp4"
    assert output.video.sha256 == hashlib.sha256(clip).hexdigest()
    assert await context.read(output.video) == clip
    assert (output.width, output.height, output.video.size_bytes) == (1280, 720, len(clip))
    assert output.duration_seconds == pytest.approx(5.312)
    assert "mp4" in output.container
    assert output.source_url == server.url("/clip")
    assert context.stages == ["download", "probe", "upload"]
    assert context.percents == sorted(context.percents)
    assert {"Downloading", "Storing"} == set(context.messages)


@pytest.mark.parametrize("path", ["/text", "/empty", "/still"])
async def test_what_is_no_video_is_refused_whatever_its_server_says(
    context: RecordingContext, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    still = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00"
    still += b"\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    monkeypatch.setitem(ANSWERS, "/still", always("200 OK", still, content_type="video/mp4"))
    async with serve_media() as server:
        with pytest.raises(TaskFailure) as failure:
            await download(context, url=server.url(path))
    assert (failure.value.type, failure.value.retryable) == ("param_error", None)
    assert stored_files(context) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: silence(folder / "sound.mka"),
        lambda folder: song_with_cover(folder / "song.mp4"),
    ],
)
async def test_sound_is_no_video_even_with_a_picture_on_its_cover(
    context: RecordingContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    make: Callable[[Path], Path],
) -> None:
    sound = make(tmp_path)
    monkeypatch.setitem(ANSWERS, "/sound", always("200 OK", sound.read_bytes()))
    async with serve_media() as server:
        with pytest.raises(TaskFailure, match="no video") as failure:
            await download(context, url=server.url("/sound"))
    assert failure.value.type == "param_error"
    assert stored_files(context) == []


async def test_a_larger_one_than_asked_for_is_refused_before_it_is_read(
    server: MediaServer, context: RecordingContext
) -> None:
    with pytest.raises(TaskFailure, match="larger than the 1,000,000 bytes") as failure:
        await download(context, url=server.url("/clip"), size_bytes_max=1_000_000)
    assert failure.value.type == "param_error"
    assert (context.stages, stored_files(context)) == (["download"], [])


@pytest.mark.parametrize(
    ("path", "type_", "after"),
    [
        ("/429", "rate_limited", 12),
        ("/503", "network", 7),
        ("/410", "param_error", None),
        ("/reset", "network", None),
        ("/to-private", "param_error", None),
        ("/loop", "param_error", None),
    ],
)
async def test_what_goes_wrong_on_the_way_is_told_apart(
    server: MediaServer,
    context: RecordingContext,
    path: str,
    type_: str,
    after: int | None,
) -> None:
    with pytest.raises(TaskFailure) as failure:
        await download(context, url=server.url(path))
    assert (failure.value.type, failure.value.retry_after_seconds) == (type_, after)
    assert (list(context.folder.iterdir()), stored_files(context)) == ([], [])


@pytest.mark.parametrize("message", ["Downloading", "Storing"])
async def test_a_cancellation_is_heard_in_the_middle_and_leaves_no_half_of_it(
    server: MediaServer, context: RecordingContext, message: str
) -> None:
    context.cancel_at = message
    with pytest.raises(TaskCancelled):
        await download(context, url=server.url("/clip"))
    assert stored_files(context) == []


async def test_a_deadline_is_heard_while_the_server_says_nothing(
    server: MediaServer, context: RecordingContext
) -> None:
    arriving = asyncio.Event()

    async def arrived(*_: object, **__: object) -> None:
        arriving.set()

    context.progress = arrived  # type: ignore[method-assign]
    work = asyncio.create_task(download(context, url=server.url("/stall-body")))
    await arriving.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (list(context.folder.iterdir()), stored_files(context)) == ([], [])


async def test_a_second_attempt_leaves_the_object_whole_at_every_moment(
    server: MediaServer, context: RecordingContext
) -> None:
    first = await download(context, url=server.url("/clip"))
    (context.folder / "media").unlink()
    context.cancel_at = "Storing"
    with pytest.raises(TaskCancelled):
        await download(context, url=server.url("/clip"))
    assert await context.read(first.video) == CLIP.read_bytes()
    assert stored_files(context) == [first.video.key]


async def test_without_room_in_storage_it_fails_as_storage(
    server: MediaServer, context: RecordingContext
) -> None:
    context.objects = FullStorage(context.objects)
    with pytest.raises(TaskFailure) as failure:
        await download(context, url=server.url("/clip"))
    assert failure.value.type == "storage"


async def test_a_redirect_may_not_lead_from_https_to_an_address_without_it(
    server: MediaServer,
    context: RecordingContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setitem(ANSWERS, "/down", always("302 Found", location=server.url("/clip")))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    context.fetch = Downloads(AddressGuard(allow_loopback=True))
    async with serve_media(tls) as secure:
        assert (await download(context, url=secure.url("/clip"))).width == 1280
        (context.folder / "media").unlink()
        with pytest.raises(TaskFailure, match="from https") as failure:
            await download(context, url=secure.url("/down"))
    assert failure.value.type == "param_error"
    assert server.lines == ["GET /clip HTTP/1.1"]


async def test_what_could_come_is_held_for_and_what_came_is_charged(
    server: MediaServer, context: RecordingContext
) -> None:
    types, prices = TaskTypes(SHIPPED), load_prices()
    pricing = Pricing(types, prices)
    held = {
        size: pricing.estimate(download_video, read(url="https://a.example/v", **more)).terms
        for size, more in ((0, {}), (1, {"size_bytes_max": 1}), (2, {"size_bytes_max": 10**9}))
    }
    assert SIZE_BYTES_MAX_DEFAULT == 500_000_000
    assert [terms.credits for terms in held.values()] == [6, 2, 11]
    asked = read(url=server.url("/clip"))
    output = await download(context, url=server.url("/clip"))
    said = quantities_of(download_video, asked, msgspec.Raw(msgspec.json.encode(output)))
    assert said == {"megabytes": Decimal(CLIP.stat().st_size) / 1_000_000}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": "http://example.com/clip.mp4"},
        {"url": "http://127.0.0.1.example.com/clip.mp4"},
        {"url": "ftp://example.com/clip.mp4"},
        {"url": "https://"},
        {"url": "https://example.com/a b"},
        {"url": "https://example.com/clip.mp4", "size_bytes_max": 0},
        {"url": "https://example.com/clip.mp4", "size_bytes_max": 64 * 1024**3 + 1},
        {"url": "https://example.com/clip.mp4", "upload": "v"},
        {"upload": "v"},
    ],
)
def test_input_out_of_bounds_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(**given)
