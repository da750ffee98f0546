"""What the media reader's processes are asked, and what they answer, as one line of JSON each."""

from __future__ import annotations

from pathlib import Path

import msgspec

from adapters.media_probe import MediaInfo, probe_media
from adapters.subtitles import SubtitleTrack, extract_subtitles
from adapters.thumbnail import PictureFormat, Thumbnail, make_thumbnail
from tallystick.handler import FailureType


class ProbeMedia(msgspec.Struct, frozen=True, tag=True):
    """Answered with `MediaInfo`."""

    path: str

    def perform(self) -> MediaInfo:
        return probe_media(Path(self.path))


class ExtractSubtitles(msgspec.Struct, frozen=True, tag=True):
    """Answered with `SubtitleTrack`s; their files are in `folder`."""

    path: str
    folder: str

    def perform(self) -> tuple[SubtitleTrack, ...]:
        return extract_subtitles(Path(self.path), Path(self.folder))


class MakeThumbnail(msgspec.Struct, frozen=True, tag=True):
    """Answered with `Thumbnail`, None without video; the picture is at `target`."""

    path: str
    target: str
    at_seconds: float | None
    width_max: int
    picture_format: PictureFormat

    def perform(self) -> Thumbnail | None:
        return make_thumbnail(
            Path(self.path),
            Path(self.target),
            at_seconds=self.at_seconds,
            width_max=self.width_max,
            picture_format=self.picture_format,
        )


MediaRequest = ProbeMedia | ExtractSubtitles | MakeThumbnail


class MediaLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one process may use: wall and processor seconds, address space, bytes a written file."""

    seconds: float = 180.0
    cpu_seconds: int = 120
    memory_bytes: int = 2 * 1024**3
    file_bytes: int = 256 * 1024**2


class MediaCall(msgspec.Struct, frozen=True):
    """One request with its limits: what a process reads from its standard input."""

    request: MediaRequest
    limits: MediaLimits


class MediaAnswer(msgspec.Struct, frozen=True):
    """What a process writes to its standard output: a result, or why there is none."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    failure_type: FailureType | None = None
    message: str = ""
    detail: str = ""
