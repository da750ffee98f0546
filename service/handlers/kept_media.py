"""Media that goes into object storage as it is: typed by what it was found to be, and reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from adapters.media_probe import MediaInfo
from tallystick.handler import Context, Stored

READ_BYTES = 1024 * 1024
CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", "video/mp4"),
    "matroska,webm": ("mkv", "video/x-matroska"),
    "avi": ("avi", "video/x-msvideo"),
    "mpegts": ("ts", "video/mp2t"),
    "mpeg": ("mpg", "video/mpeg"),
    "flv": ("flv", "video/x-flv"),
    "ogg": ("ogg", "application/ogg"),
    "asf": ("asf", "video/x-ms-asf"),
    "mxf": ("mxf", "application/mxf"),
    "gif": ("gif", "image/gif"),
    "mp3": ("mp3", "audio/mpeg"),
    "wav": ("wav", "audio/x-wav"),
    "flac": ("flac", "audio/flac"),
    "aac": ("aac", "audio/aac"),
}
"""Extension and content type of what is stored, by FFmpeg's name of the container."""
_UNKNOWN = ("bin", "application/octet-stream")


async def keep_media(
    media: Path, info: MediaInfo, context: Context, *, percent_from: int, percent_to: int
) -> Stored:
    """Store the file as `video`, typed by what it was found to be and not by what its server said.

    Progress in bytes is told as they go. Raises `TaskFailure` of type storage, and `TaskCancelled`.
    """
    extension, content_type = CONTAINERS.get(info.format, _UNKNOWN)
    chunks = _reported(media, context, percent_from, percent_to - percent_from)
    return await context.objects.put(f"video.{extension}", chunks, content_type=content_type)


async def _reported(
    media: Path, context: Context, percent_from: int, percents: int
) -> AsyncIterator[bytes]:
    total = (await asyncio.to_thread(media.stat)).st_size
    sent = 0
    with await asyncio.to_thread(media.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk
            sent += len(chunk)
            percent = percent_from + sent * percents // total
            await context.progress(percent, "Storing", completed=sent, total=total)
