"""The task type `media_extraction` on real video, over real HTTP, into real storage."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from domain.cleaning import clean_json
from service.attempt import RESULT_BYTES_MAX
from service.handlers import SHIPPED
from service.handlers.media_extraction import (
    STAGES,
    MediaExtractionInput,
    MediaExtractionOutput,
    media_extraction,
)
from tallystick.handler import TaskCancelled, TaskFailure
from tests.integration.media_clips import (
    CLIP,
    LINES,
    SRT,
    TEXT,
    Line,
    Track,
    mux_subtitles,
    silence,
)
from tests.integration.media_server import MediaServer, serve_media
from tests.integration.recording_context import ACCOUNT, TASK, FullStorage, RecordingContext


@pytest.fixture
async def server() -> AsyncIterator[MediaServer]:
    async with serve_media() as running:
        yield running


@pytest.fixture
def context(tmp_path: Path) -> RecordingContext:
    return RecordingContext(tmp_path)


@pytest.fixture
def uploads(tmp_path: Path, context: RecordingContext) -> Path:
    del context
    return tmp_path / "uploads"


async def extract(context: RecordingContext, **given: object) -> MediaExtractionOutput:
    """Run the handler as the worker does: the input by way of JSON, the output cleaned."""
    task_input = msgspec.json.decode(msgspec.json.encode(given), type=media_extraction.input_type)
    assert media_extraction.function is not None
    output = await media_extraction.function(task_input, context)
    assert isinstance(output, MediaExtractionOutput)
    document = msgspec.json.decode(msgspec.json.encode(output))
    assert clean_json(document) == document, "everything in it can be stored as it is"
    assert msgspec.convert(document, MediaExtractionOutput) == output
    return output


def test_it_is_shipped_with_its_price_and_stages() -> None:
    assert media_extraction in SHIPPED
    assert media_extraction.price_credits == 10
    assert media_extraction.stages == {
        "download": 5,
        "metadata": 10,
        "subtitles": 20,
        "thumbnail": 30,
        "upload": 40,
    }


async def test_a_video_at_a_url_is_extracted_and_stored(
    server: MediaServer, context: RecordingContext
) -> None:
    output = await extract(context, url=server.url("/clip"))
    content = CLIP.read_bytes()
    assert (output.duration_seconds, output.size_bytes) == (5.312, len(content))
    assert [stream.codec for stream in output.streams] == ["h264", "aac"]
    assert output.subtitles == ()
    assert (output.stored, output.storage_note) == (True, None)
    assert output.video_url == server.url("/clip")
    assert output.video is not None
    assert output.video.key == f"{ACCOUNT}/{TASK}/video.mp4"
    assert output.video.sha256 == hashlib.sha256(content).hexdigest()
    assert await context.read(output.video) == content
    assert output.thumbnail is not None
    with Image.open(io.BytesIO(await context.read(output.thumbnail.stored))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (640, 360))


async def test_stages_are_reached_in_order_and_progress_only_grows(
    server: MediaServer, context: RecordingContext
) -> None:
    await extract(context, url=server.url("/clip"))
    assert context.stages == list(STAGES)
    assert context.percents == sorted(context.percents)
    assert context.percents[-1] == 99
    assert set(context.messages) == {"Downloading", "Storing"}


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mov_text"), ("mkv", "subrip")])
async def test_subtitles_are_stored_as_srt_and_text(
    context: RecordingContext, uploads: Path, suffix: str, codec: str
) -> None:
    mux_subtitles(uploads / f"clip.{suffix}", Track(codec, LINES, "deu", "Deutsch"))
    output = await extract(context, upload=f"clip.{suffix}")
    (subtitles,) = output.subtitles
    assert (subtitles.index, subtitles.codec, subtitles.language) == (2, codec, "deu")
    assert (subtitles.title, subtitles.cues, subtitles.sample) == ("Deutsch", 2, TEXT)
    assert subtitles.srt is not None
    assert subtitles.text is not None
    assert subtitles.srt.key == f"{ACCOUNT}/{TASK}/subtitles/2.srt"
    assert (await context.read(subtitles.srt)).decode() == SRT
    assert (await context.read(subtitles.text)).decode() == TEXT
    assert output.video_url == f"upload:clip.{suffix}"
    assert output.video is not None
    assert output.video.key.endswith(f"video.{suffix}")


async def test_the_moment_of_the_thumbnail_can_be_asked_for(
    context: RecordingContext, server: MediaServer
) -> None:
    output = await extract(context, url=server.url("/clip"), thumbnail_at_seconds=3.0)
    assert output.thumbnail is not None
    assert output.thumbnail.at_seconds == 3.0


async def test_the_video_is_kept_only_when_asked(
    context: RecordingContext, server: MediaServer, tmp_path: Path
) -> None:
    output = await extract(context, url=server.url("/clip"), store_video=False)
    assert (output.stored, output.video, output.storage_note) == (False, None, None)
    stored = [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert stored == ["thumbnail.jpeg"]


async def test_sound_alone_has_no_thumbnail(context: RecordingContext, uploads: Path) -> None:
    silence(uploads / "sound.mka", title="Only sound")
    output = await extract(context, upload="sound.mka")
    assert (output.title, output.thumbnail) == ("Only sound", None)
    assert output.stored


async def test_what_cannot_be_stored_does_not_fail_the_task(
    context: RecordingContext, server: MediaServer
) -> None:
    """A11: it completes with the original URL, and says so."""
    context.objects = FullStorage(context.objects, "thumbnail.jpeg")
    output = await extract(context, url=server.url("/clip"))
    assert (output.stored, output.video) == (False, None)
    assert output.video_url == server.url("/clip")
    assert output.storage_note == (
        "Could not be stored: the video; it is still at its original URL."
    )
    assert output.thumbnail is not None


async def test_each_loss_is_named_once(context: RecordingContext, uploads: Path) -> None:
    mux_subtitles(uploads / "clip.mkv", *[Track("subrip", LINES)] * 3)
    context.objects = FullStorage(context.objects)
    output = await extract(context, upload="clip.mkv")
    assert output.storage_note == (
        "Could not be stored: the subtitles, the thumbnail, the video; "
        "it is still at its original URL."
    )
    assert [subtitles.sample for subtitles in output.subtitles] == [TEXT] * 3
    assert output.thumbnail is None


@pytest.mark.parametrize(
    ("path", "failure_type"),
    [
        ("/text", "param_error"),
        ("/empty", "param_error"),
        ("/500", "network"),
        ("/429", "rate_limited"),
    ],
)
async def test_what_cannot_be_had_fails_with_its_reason(
    context: RecordingContext, server: MediaServer, path: str, failure_type: str
) -> None:
    with pytest.raises(TaskFailure) as failure:
        await extract(context, url=server.url(path))
    assert failure.value.type == failure_type


@pytest.mark.parametrize("stop", ["Downloading", "Storing"])
async def test_a_cancelled_task_stops_and_stores_no_part(
    context: RecordingContext, server: MediaServer, tmp_path: Path, stop: str
) -> None:
    context.cancel_at = stop
    with pytest.raises(TaskCancelled):
        await extract(context, url=server.url("/clip"))
    assert not list((tmp_path / "objects").rglob("video*"))


async def test_a_private_address_is_refused_where_development_is_not(
    tmp_path: Path, server: MediaServer
) -> None:
    (tmp_path / "guarded").mkdir()
    context = RecordingContext(tmp_path / "guarded", allow_loopback=False)
    with pytest.raises(TaskFailure) as failure:
        await extract(context, url=server.url("/clip"))
    assert failure.value.type == "param_error"
    assert server.lines == []


async def test_the_largest_result_still_fits(context: RecordingContext, uploads: Path) -> None:
    """As many streams as are listed, with the longest samples in the widest characters."""
    lines = [Line(second, second + 1, f"{second}" + "\U0001f430" * 500) for second in range(4)]
    tracks = [Track("subrip", lines, "deu", "\U0001f430" * 300)] * 70
    mux_subtitles(uploads / "clip.mkv", *tracks)
    output = await extract(context, upload="clip.mkv", store_video=False)
    assert len(output.subtitles) == 64
    assert len(msgspec.json.encode(output)) < RESULT_BYTES_MAX


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": "https://e.example/v", "upload": "v"},
        {"url": "ftp://e.example/v"},
        {"url": "https://"},
        {"url": "https://e.example/a b"},
        {"url": "https://e.example/\x00"},
        {"url": "https://e.example/" + "x" * 2_048},
        {"url": 7},
        {"upload": ""},
        {"upload": "/etc/passwd"},
        {"upload": "a\x00b"},
        {"upload": "x" * 1_025},
        {"upload": "v", "thumbnail_at_seconds": -1},
        {"upload": "v", "thumbnail_at_seconds": 1e12},
        {"upload": "v", "store_video": "yes"},
        {"upload": "v", "more": 1},
    ],
)
def test_input_out_of_bounds_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(given), type=MediaExtractionInput)
