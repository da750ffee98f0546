"""A stored picture of a video, as handlers return it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from adapters.media_probe import Pixels, Seconds
from adapters.thumbnail import PictureFormat, Thumbnail
from service.handlers.reader import READER
from tallystick.handler import Context, Stored


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Where the picture lies, what it is like, and the moment of the video that it shows."""

    stored: Stored
    format: PictureFormat
    width: Pixels
    height: Pixels
    at_seconds: Seconds


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A picture in the attempt's folder, not yet stored."""

    path: Path
    format: PictureFormat
    thumbnail: Thumbnail

    async def store(self, context: Context) -> Picture:
        """Put it into object storage. Raises `TaskFailure` of type storage."""
        stored = await context.objects.put(
            self.path.name, self.path, content_type=f"image/{self.format}"
        )
        return Picture(
            stored=stored,
            format=self.format,
            width=self.thumbnail.width,
            height=self.thumbnail.height,
            at_seconds=self.thumbnail.at_seconds,
        )


async def take_picture(
    media: Path,
    context: Context,
    *,
    at_seconds: float | None,
    width_max: int,
    picture_format: PictureFormat,
) -> Taken | None:
    """Take a picture of `media` into the attempt's folder; None when it holds no video."""
    target = context.folder / f"thumbnail.{picture_format}"
    thumbnail = await READER.thumbnail(
        media,
        target,
        at_seconds=at_seconds,
        width_max=width_max,
        picture_format=picture_format,
    )
    if thumbnail is None:
        return None
    return Taken(path=target, format=picture_format, thumbnail=thumbnail)
