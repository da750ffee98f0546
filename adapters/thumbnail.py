"""One picture stands for a video: at a moment that is asked for, or one that shows something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageStat

from adapters.media_file import PIXELS_MAX, VIDEO_CODECS, decoder_of, open_media
from adapters.media_probe import Pixels, Seconds, container_seconds
from tallystick.handler import TaskFailure

PictureFormat: TypeAlias = Literal["jpeg", "png", "webp"]

WIDTH_MIN, WIDTH_MAX = 16, 3840
HEIGHT_PER_WIDTH_MAX = 2
"""A picture is at most this many times as high as the width that is asked for."""
DECODED_PIXELS_MAX = 6_000_000_000
"""Pixels decoded on the way to one asked-for moment: 2,900 frames of 1080p."""
CANDIDATE_PIXELS_MAX = 600_000_000
"""Pixels decoded on the way to one candidate: 290 frames of 1080p."""
CANDIDATES = (0.1, 0.25, 0.5, 0.75, 0.0)
"""Where a representative picture is looked for, as parts of the duration."""
BRIGHTNESS_MIN, BRIGHTNESS_MAX, CONTRAST_MIN = 20, 235, 12
"""Mean and standard deviation of luma (0 to 255) between which a picture shows something."""
SAMPLE_SIZE = (64, 36)
SEEK_BACK_SECONDS = (0.0, 2.0, 10.0, 60.0)
PIXEL_ASPECT_MAX = 8

_ENCODING: dict[PictureFormat, dict[str, int | bool]] = {
    "jpeg": {"quality": 85, "optimize": True, "progressive": True},
    "png": {"optimize": True},
    "webp": {"quality": 82, "method": 4},
}


class Thumbnail(msgspec.Struct, frozen=True, kw_only=True):
    """A picture written to a file, and the moment of the video that it shows."""

    width: Pixels
    height: Pixels
    at_seconds: Seconds


def make_thumbnail(
    path: Path,
    target: Path,
    *,
    at_seconds: float | None = None,
    width_max: int = 640,
    picture_format: PictureFormat = "jpeg",
) -> Thumbnail | None:
    """Write a picture of the video at `path` to `target`; None when it holds no video.

    The picture is upright, has square pixels, and is scaled down to `width_max` and twice that
    height, never up. Without `at_seconds` the first of `CANDIDATES` that is neither near black,
    near white nor near flat is taken, else the one with most contrast. Blocks. Raises
    `TaskFailure` of type param_error for what is no media, holds only video that may not be
    decoded, or ends before `at_seconds`.
    """
    with open_media(path) as container:
        video = _Video.of(container)
        if video is None:
            return None
        frame = video.representative() if at_seconds is None else video.at(at_seconds)
        image = _upright_image(frame, video.stream.sample_aspect_ratio, width_max)
        image.save(target, format=picture_format, **_ENCODING[picture_format])
        return Thumbnail(
            width=image.width, height=image.height, at_seconds=max(video.seconds_of(frame), 0.0)
        )


class _Video:
    """The picture stream of an open container, read for nothing else."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.container = container
        self.stream = stream
        self.duration = container_seconds(container)
        self._time_base = stream.time_base or Fraction(1, 1000)
        self._pixels = max(stream.width * stream.height, 1)
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(PIXELS_MAX)}

    @classmethod
    def of(cls, container: InputContainer) -> _Video | None:
        """The first moving picture, else the first cover; None when there is neither."""
        streams = sorted(container.streams.video, key=_is_cover)
        if not streams:
            return None
        for stream in streams:
            if _may_be_decoded(stream):
                return cls(container, stream)
        message = "The file's video is of a kind or size that no picture can be taken from."
        raise TaskFailure("param_error", message)

    def seconds_of(self, frame: VideoFrame) -> float:
        """When `frame` is shown, in seconds after the stream begins."""
        if frame.pts is None:
            return 0.0
        return round(float((frame.pts - (self.stream.start_time or 0)) * self._time_base), 3)

    def at(self, seconds: float) -> VideoFrame:
        if self.duration is not None and seconds > self.duration:
            message = f"The video ends after {self.duration:.1f} seconds, before {seconds:g}."
            raise TaskFailure("param_error", message)
        frame = self._shown_at(seconds, DECODED_PIXELS_MAX)
        if frame is None:
            raise TaskFailure("param_error", "No picture could be read from the video.")
        return frame

    def representative(self) -> VideoFrame:
        best: tuple[float, VideoFrame] | None = None
        for frame in self._candidates():
            brightness, contrast = _look(frame)
            if BRIGHTNESS_MIN <= brightness <= BRIGHTNESS_MAX and contrast >= CONTRAST_MIN:
                return frame
            if best is None or contrast > best[0]:
                best = contrast, frame
        if best is None:
            raise TaskFailure("param_error", "No picture could be read from the video.")
        return best[1]

    def _candidates(self) -> Iterator[VideoFrame]:
        moments = [part * (self.duration or 0.0) for part in CANDIDATES]
        for seconds in dict.fromkeys(moments):
            frame = self._shown_at(seconds, CANDIDATE_PIXELS_MAX)
            if frame is not None:
                yield frame

    def _shown_at(self, seconds: float, pixels_max: int) -> VideoFrame | None:
        """The frame on show at `seconds`, or the nearest before it that `pixels_max` lets reach.

        Formats without an index land anywhere: then it is tried again from further back, and
        from the beginning. A file that begins later gives its first frame; None when nothing
        can be decoded.
        """
        shown = None
        for back in SEEK_BACK_SECONDS:
            self._seek(max(seconds - back, 0.0))
            shown = self._decode_until(seconds, pixels_max) or shown
            if shown is not None and self.seconds_of(shown) <= seconds:
                return shown
        self._rewind()
        return self._decode_until(seconds, pixels_max) or shown

    def _decode_until(self, seconds: float, pixels_max: int) -> VideoFrame | None:
        """The last frame from here on that is shown by `seconds`, else the first."""
        shown = None
        frames_left = max(pixels_max // self._pixels, 1)
        try:
            for frame in self.container.decode(self.stream):
                if shown is not None and self.seconds_of(frame) > seconds:
                    break
                shown = frame
                frames_left -= 1
                if frames_left <= 0:
                    break
        except FFmpegError:
            return shown
        return shown

    def _seek(self, seconds: float) -> None:
        """Go to the key frame before `seconds`; stay where it is if the file cannot seek."""
        offset = int(seconds / self._time_base) + (self.stream.start_time or 0)
        with suppress(FFmpegError):
            self.container.seek(offset, stream=self.stream)

    def _rewind(self) -> None:
        """Go to the first byte, in formats that are streams of packets."""
        with suppress(FFmpegError):
            self.container.seek(0, unsupported_byte_offset=True)


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _may_be_decoded(stream: VideoStream) -> bool:
    decoder = decoder_of(stream)
    if decoder is None or decoder.name not in VIDEO_CODECS:
        return False
    return 0 < stream.width * stream.height <= PIXELS_MAX


def _look(frame: VideoFrame) -> tuple[float, float]:
    """Mean and standard deviation of the luma of `frame`."""
    statistics = ImageStat.Stat(_image(frame, *SAMPLE_SIZE).convert("L"))
    return statistics.mean[0], statistics.stddev[0]


def _upright_image(frame: VideoFrame, pixel_aspect: Fraction | None, width_max: int) -> Image.Image:
    turns = round(frame.rotation / 90) % 4
    width, height = _display_size(frame, pixel_aspect)
    if turns % 2:
        width, height = _fit(height, width, width_max)[::-1]
    else:
        width, height = _fit(width, height, width_max)
    image = _image(frame, width, height)
    return image.rotate(90 * turns, expand=True) if turns else image


def _image(frame: VideoFrame, width: int, height: int) -> Image.Image:
    """`frame` as RGB, scaled before it becomes Python's, so that a large one is never copied."""
    image: Image.Image = frame.to_image(  # type: ignore[no-untyped-call]
        width=width, height=height, interpolation="AREA"
    )
    return image


def _display_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels, before any turn. Absurd shapes of pixels are ignored."""
    aspect = pixel_aspect or Fraction(1)
    if not 1 / PIXEL_ASPECT_MAX <= aspect <= PIXEL_ASPECT_MAX:
        aspect = Fraction(1)
    return max(round(frame.width * aspect), 1), frame.height


def _fit(width: int, height: int, width_max: int) -> tuple[int, int]:
    scale = min(1.0, width_max / width, HEIGHT_PER_WIDTH_MAX * width_max / height)
    return max(round(width * scale), 1), max(round(height * scale), 1)
