"""Where a task's media comes from: a URL or an upload, named in the input, brought to scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from service.content_key import canonical
from tallystick.handler import Context, FetchedFile, Report

MEDIA_BYTES_MAX = 64 * 1024**3
"""Largest media taken at all; the service's own setting is usually far lower."""
CACHE_SECONDS = 3_600
"""How long what was made of a URL's media stands for what lies there now."""

Url = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=2_048,
        pattern=r"^[hH][tT][tT][pP][sS]?://[^\x00-\x20]+$",
        description="Public http or https address of the media, without user name or password.",
        examples=["https://example.com/video.mp4"],
    ),
]
UploadPath = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1_024,
        pattern=r"^[^/\x00][^\x00]*$",
        description="Path of a file in the uploads folder, relative to it.",
        examples=["holiday/clip.mp4"],
    ),
]


class MediaSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input that names its media: by `url` or by `upload`, not both."""

    url: Url | None = None
    upload: UploadPath | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.upload is None):
            raise ValueError("give either `url` or `upload`")


def address_key(source: MediaSource) -> str | None:
    """What a result from a URL depends on; None for an upload, which may change at any time."""
    return canonical(source) if source.upload is None else None


async def bring_media(
    source: MediaSource, context: Context, *, percent_from: int, percent_to: int
) -> tuple[Path, FetchedFile]:
    """Download or copy the media into the attempt's folder, reporting progress as it arrives.

    Raises `TaskFailure` as `Fetch` does, and `TaskCancelled`.
    """
    target = context.folder / "media"
    if source.upload is None:
        brought = bring_file(
            str(source.url),
            target,
            context,
            size_bytes_max=MEDIA_BYTES_MAX,
            percent_from=percent_from,
            percent_to=percent_to,
        )
    else:
        report = _report(context, percent_from, percent_to)
        brought = context.fetch.upload(
            source.upload, target, size_bytes_max=MEDIA_BYTES_MAX, report=report
        )
    return target, await brought


async def bring_file(
    url: str,
    target: Path,
    context: Context,
    *,
    size_bytes_max: int,
    percent_from: int,
    percent_to: int,
) -> FetchedFile:
    """Download `url` to `target`, reporting its bytes as they arrive; raises as `bring_media`."""
    report = _report(context, percent_from, percent_to)
    return await context.fetch(url, target, size_bytes_max=size_bytes_max, report=report)


def _report(context: Context, percent_from: int, percent_to: int) -> Report:
    async def report(size_bytes: int, total: int | None) -> None:
        share = size_bytes / total if total else 0.0
        percent = percent_from + int(share * (percent_to - percent_from))
        await context.progress(percent, "Downloading", completed=size_bytes, total=total)

    return report
