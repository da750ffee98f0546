"""The task type `generate_thumbnail`: one picture of a video."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.thumbnail import WIDTH_MAX, WIDTH_MIN, PictureFormat
from service.handlers.media_source import CACHE_SECONDS, MediaSource, address_key, bring_media
from service.handlers.picture import Picture, take_picture
from tallystick.handler import Context, TaskFailure, handler

PRICE_CREDITS = 2
ATTEMPT_SECONDS_MAX = 600
RUN_SECONDS_MAX = 1_800
STAGES = {"download": 5, "thumbnail": 60, "upload": 80}

Moment = Annotated[
    float,
    Meta(
        ge=0,
        le=30 * 86_400,
        description="Seconds into the video. Without it, a moment that shows something is found.",
    ),
]


class GenerateThumbnailInput(MediaSource, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The video, the moment, and what the picture is to be like."""

    at_seconds: Moment | None = None
    width_max: Annotated[
        int,
        Meta(ge=WIDTH_MIN, le=WIDTH_MAX, description="Widest in pixels; it is never scaled up."),
    ] = 640
    format: PictureFormat = "jpeg"


class GenerateThumbnailOutput(msgspec.Struct, frozen=True, kw_only=True):
    """The stored picture."""

    thumbnail: Picture


@handler(
    "generate_thumbnail",
    price_credits=PRICE_CREDITS,
    stages=STAGES,
    attempt_seconds_max=ATTEMPT_SECONDS_MAX,
    run_seconds_max=RUN_SECONDS_MAX,
    cache_seconds=CACHE_SECONDS,
    cache_key=address_key,
    stores=True,
)
async def generate_thumbnail(
    task_input: GenerateThumbnailInput, context: Context
) -> GenerateThumbnailOutput:
    """Take one picture of a video at a URL or in the uploads folder, and store it."""
    await context.stage("download")
    media, _ = await bring_media(
        task_input, context, percent_from=STAGES["download"], percent_to=STAGES["thumbnail"]
    )
    await context.stage("thumbnail")
    taken = await take_picture(
        media,
        context,
        at_seconds=task_input.at_seconds,
        width_max=task_input.width_max,
        picture_format=task_input.format,
    )
    if taken is None:
        raise TaskFailure("param_error", "The file holds no video to take a picture of.")
    await context.stage("upload")
    return GenerateThumbnailOutput(thumbnail=await taken.store(context))
