"""The task type `download_video`: a video at a URL, checked to be one, into object storage."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from adapters.media_probe import MediaInfo, MediaStream, Name, Pixels, Seconds
from service.handlers.kept_media import keep_media
from service.handlers.media_source import MEDIA_BYTES_MAX, bring_file
from service.handlers.reader import READER
from tallystick.handler import Context, Stored, TaskFailure, handler

PRICE_CREDITS = 1
"""Beside what the price list asks for each megabyte."""
ATTEMPT_SECONDS_MAX = 900
RUN_SECONDS_MAX = 2_700
SIZE_BYTES_MAX_DEFAULT = 500_000_000
STAGES = {"download": 5, "probe": 60, "upload": 65}
UPLOADED_PERCENT = 99
MEGABYTE = 1_000_000
NOT_VIDEOS = frozenset({"gif"})
"""Containers whose moving pictures are pictures."""

VideoUrl = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=2_048,
        pattern=r"^([hH][tT][tT][pP][sS]://[^\x00-\x20]+"
        r"|http://(127\.0\.0\.1|localhost|\[::1\])[:/][^\x00-\x20]*)$",
        description="Public https address of the video, without user name or password. Plain http"
        " is for this machine's own loopback, where the service allows it.",
        examples=["https://example.com/video.mp4"],
    ),
]


class DownloadVideoInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the video is, and how large it may be: that much is held for, what came is charged."""

    url: VideoUrl
    size_bytes_max: Annotated[
        int,
        Meta(
            ge=1,
            le=MEDIA_BYTES_MAX,
            description="A larger one is refused. The service may take less than you do.",
        ),
    ] = SIZE_BYTES_MAX_DEFAULT


class DownloadVideoOutput(msgspec.Struct, frozen=True, kw_only=True):
    """The stored video, and what it was found to be, whatever its server said.

    `width` and `height` are those of the first video stream, before any turn.
    """

    video: Stored
    container: Annotated[Name, Meta(description="FFmpeg's name of the container format")]
    duration_seconds: Seconds | None
    width: Pixels
    height: Pixels
    source_url: Annotated[
        str, Meta(max_length=2_048, description="where redirects led to in the end")
    ]


def _estimate(task_input: DownloadVideoInput) -> Mapping[str, Decimal]:
    return {"megabytes": Decimal(task_input.size_bytes_max) / MEGABYTE}


def _measure(_: DownloadVideoInput, output: DownloadVideoOutput) -> Mapping[str, Decimal]:
    return {"megabytes": Decimal(output.video.size_bytes) / MEGABYTE}


@handler(
    "download_video",
    price_credits=PRICE_CREDITS,
    stages=STAGES,
    attempt_seconds_max=ATTEMPT_SECONDS_MAX,
    run_seconds_max=RUN_SECONDS_MAX,
    estimate=_estimate,
    measure=_measure,
    stores=True,
)
async def download_video(task_input: DownloadVideoInput, context: Context) -> DownloadVideoOutput:
    """Download a video from an https URL into object storage, once it was seen to be one.

    Priced by the megabyte: what `size_bytes_max` would cost is held, what came is charged.
    """
    await context.stage("download")
    media = context.folder / "media"
    fetched = await bring_file(
        task_input.url,
        media,
        context,
        size_bytes_max=task_input.size_bytes_max,
        percent_from=STAGES["download"],
        percent_to=STAGES["probe"],
    )
    _refuse_downgrade(task_input.url, fetched.url)
    await context.stage("probe")
    info = await READER.probe(media)
    width, height = _picture_size(info)
    await context.stage("upload")
    video = await keep_media(
        media, info, context, percent_from=STAGES["upload"], percent_to=UPLOADED_PERCENT
    )
    return DownloadVideoOutput(
        video=video,
        container=info.format,
        duration_seconds=info.duration_seconds,
        width=width,
        height=height,
        source_url=fetched.url[:2_048],
    )


def _refuse_downgrade(asked: str, final: str) -> None:
    if asked[:6].lower() == "https:" and not final.startswith("https:"):
        raise TaskFailure("param_error", "The URL redirects from https to an address without it.")


def _picture_size(info: MediaInfo) -> tuple[int, int]:
    """Of the first stream of moving pictures. Raises `TaskFailure` where there is none."""
    for stream in () if info.format in NOT_VIDEOS else info.streams:
        if _moves(stream) and stream.width is not None and stream.height is not None:
            return stream.width, stream.height
    raise TaskFailure("param_error", "The file is no video.")


def _moves(stream: MediaStream) -> bool:
    """An album's picture is a stream of one frame."""
    return stream.type == "video" and not stream.cover
