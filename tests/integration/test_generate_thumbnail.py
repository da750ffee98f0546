"""The task type `generate_thumbnail` on real video, over real HTTP, into real storage."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from service.handlers import SHIPPED
from service.handlers.generate_thumbnail import (
    GenerateThumbnailInput,
    GenerateThumbnailOutput,
    generate_thumbnail,
)
from tallystick.handler import TaskFailure
from tests.integration.media_clips import silence
from tests.integration.media_server import MediaServer, serve_media
from tests.integration.recording_context import ACCOUNT, TASK, FullStorage, RecordingContext


@pytest.fixture
async def server() -> AsyncIterator[MediaServer]:
    async with serve_media() as running:
        yield running


@pytest.fixture
def context(tmp_path: Path) -> RecordingContext:
    return RecordingContext(tmp_path)


async def take(context: RecordingContext, **given: object) -> GenerateThumbnailOutput:
    task_input = msgspec.json.decode(msgspec.json.encode(given), type=generate_thumbnail.input_type)
    assert generate_thumbnail.function is not None
    output = await generate_thumbnail.function(task_input, context)
    assert isinstance(output, GenerateThumbnailOutput)
    return output


def test_it_is_shipped_with_its_price() -> None:
    assert generate_thumbnail in SHIPPED
    assert generate_thumbnail.price_credits == 2


@pytest.mark.parametrize("picture_format", ["jpeg", "png", "webp"])
async def test_a_picture_of_the_asked_kind_is_stored(
    server: MediaServer, context: RecordingContext, picture_format: str
) -> None:
    output = await take(
        context, url=server.url("/clip"), at_seconds=2.0, width_max=320, format=picture_format
    )
    picture = output.thumbnail
    assert picture.stored.key == f"{ACCOUNT}/{TASK}/thumbnail.{picture_format}"
    assert (picture.width, picture.height, picture.at_seconds) == (320, 180, 2.0)
    with Image.open(io.BytesIO(await context.read(picture.stored))) as image:
        assert (image.format, image.size) == (picture_format.upper(), (320, 180))
    assert context.stages == ["download", "thumbnail", "upload"]


async def test_without_wishes_it_is_a_jpeg_of_a_moment_that_shows_something(
    server: MediaServer, context: RecordingContext
) -> None:
    picture = (await take(context, url=server.url("/hops-2"))).thumbnail
    assert (picture.format, picture.width, picture.at_seconds) == ("jpeg", 640, 0.52)


async def test_sound_alone_is_refused(context: RecordingContext, tmp_path: Path) -> None:
    silence(tmp_path / "uploads" / "sound.mka")
    with pytest.raises(TaskFailure, match="no video") as failure:
        await take(context, upload="sound.mka")
    assert failure.value.type == "param_error"


async def test_a_moment_past_the_end_is_refused(
    server: MediaServer, context: RecordingContext
) -> None:
    with pytest.raises(TaskFailure, match="ends after") as failure:
        await take(context, url=server.url("/clip"), at_seconds=100)
    assert failure.value.type == "param_error"


async def test_a_picture_that_cannot_be_stored_fails_the_task(
    server: MediaServer, context: RecordingContext
) -> None:
    """There is nothing else to deliver."""
    context.objects = FullStorage(context.objects)
    with pytest.raises(TaskFailure) as failure:
        await take(context, url=server.url("/clip"))
    assert failure.value.type == "storage"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"upload": "v", "width_max": 15},
        {"upload": "v", "width_max": 3_841},
        {"upload": "v", "width_max": 64.5},
        {"upload": "v", "format": "gif"},
        {"upload": "v", "at_seconds": -0.1},
        {"upload": "v", "at_seconds": "1"},
        {"upload": "v", "more": 1},
    ],
)
def test_input_out_of_bounds_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(given), type=GenerateThumbnailInput)
