"""Where a task's media comes from: a URL or an upload, named in the input, brought to scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from service.content_key import canonical
from tallystick.handler import Context, FetchedFile

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

    async def report(size_bytes: int, total: int | None) -> None:
        share = size_bytes / total if total else 0.0
        percent = percent_from + int(share * (percent_to - percent_from))
        await context.progress(percent, "Downloading", completed=size_bytes, total=total)

    if source.upload is not None:
        bring = context.fetch.upload(
            source.upload, target, size_bytes_max=MEDIA_BYTES_MAX, report=report
        )
    else:
        bring = context.fetch(
            str(source.url), target, size_bytes_max=MEDIA_BYTES_MAX, report=report
        )
    return target, await bring
