"""What a media file is made of, in numbers and words that can be stored whatever the file says."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import msgspec
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream
from msgspec import Meta

from adapters.media_file import decoder_of, open_media
from domain.cleaning import clean_text

STREAMS_MAX = 64
NAME_LENGTH_MAX = 64
TITLE_LENGTH_MAX = 200
LANGUAGE_LENGTH_MAX = 35
SECONDS_MAX = 10 * 365 * 86_400
SIDE_PIXELS_MAX = 65_536
FRAME_RATE_MAX = 1_000
CHANNELS_MAX = 256
BITS_PER_SECOND_MAX = 10**12

Name = Annotated[str, Meta(max_length=NAME_LENGTH_MAX)]
Title = Annotated[str, Meta(max_length=TITLE_LENGTH_MAX)]
Language = Annotated[str, Meta(max_length=LANGUAGE_LENGTH_MAX, description="as the file says")]
Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
BitRate = Annotated[int, Meta(gt=0, le=BITS_PER_SECOND_MAX, description="bits a second")]
Pixels = Annotated[int, Meta(gt=0, le=SIDE_PIXELS_MAX)]


class MediaStream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stream of a file. What does not apply, or what the file does not tell sanely, is None."""

    index: Annotated[int, Meta(ge=0)]
    type: Annotated[Name, Meta(description="video, audio, subtitle, data or attachment")]
    codec: Name | None = None
    profile: Name | None = None
    language: Language | None = None
    title: Title | None = None
    default: bool = False
    cover: Annotated[bool, Meta(description="a picture that comes along, such as an album's")] = (
        False
    )
    duration_seconds: Seconds | None = None
    bit_rate: BitRate | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    frame_rate: Annotated[float, Meta(gt=0, le=FRAME_RATE_MAX)] | None = None
    pixel_format: Name | None = None
    channels: Annotated[int, Meta(gt=0, le=CHANNELS_MAX)] | None = None
    channel_layout: Name | None = None
    sample_rate: Annotated[int, Meta(gt=0, le=10_000_000, description="hertz")] | None = None


class MediaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file's container and the first `STREAMS_MAX` of its `streams_total` streams."""

    format: Annotated[Name, Meta(description="FFmpeg's name of the container format")]
    format_name: Title
    title: Title | None
    duration_seconds: Seconds | None
    bit_rate: BitRate | None
    streams_total: Annotated[int, Meta(ge=0)]
    streams: Annotated[tuple[MediaStream, ...], Meta(max_length=STREAMS_MAX)]


def probe_media(path: Path) -> MediaInfo:
    """Read the metadata of the file at `path`. Blocks; decodes no more than FFmpeg's probing does.

    Raises `TaskFailure` of type param_error for what is no media.
    """
    with open_media(path) as container:
        streams = tuple(_describe(stream) for stream in list(container.streams)[:STREAMS_MAX])
        return MediaInfo(
            format=_text(container.format.name, NAME_LENGTH_MAX) or "unknown",
            format_name=_text(container.format.long_name, TITLE_LENGTH_MAX) or "unknown",
            title=title_of(container.metadata),
            duration_seconds=container_seconds(container),
            bit_rate=_integer(container.bit_rate, BITS_PER_SECOND_MAX),
            streams_total=len(container.streams),
            streams=streams,
        )


def container_seconds(container: InputContainer) -> float | None:
    """How long the file lasts; None when neither it nor its longest stream tells."""
    if container.duration is not None:
        return _number(container.duration / av.time_base, SECONDS_MAX)
    return max(filter(None, map(_stream_seconds, container.streams)), default=None)


def title_of(metadata: dict[str, str]) -> str | None:
    return _text(metadata.get("title") or metadata.get("name"), TITLE_LENGTH_MAX)


def language_of(metadata: dict[str, str]) -> str | None:
    """The language as the file names it, None where it says that it is undetermined."""
    language = _text(metadata.get("language"), LANGUAGE_LENGTH_MAX)
    return None if language == "und" else language


def codec_of(stream: Stream) -> str | None:
    """FFmpeg's name of the codec, not of the decoder at hand; None when it knows none."""
    decoder = decoder_of(stream)
    return _text(decoder.codec.canonical_name, NAME_LENGTH_MAX) if decoder is not None else None


def _describe(stream: Stream) -> MediaStream:
    known = MediaStream(
        index=stream.index,
        type=stream.type,
        codec=codec_of(stream),
        profile=_text(stream.profile, NAME_LENGTH_MAX),
        language=language_of(stream.metadata),
        title=title_of(stream.metadata),
        default=bool(stream.disposition & stream.disposition.default),
        cover=bool(stream.disposition & stream.disposition.attached_pic),
        duration_seconds=_stream_seconds(stream),
    )
    if decoder_of(stream) is None:
        return known
    if isinstance(stream, VideoStream):
        return _with_picture(known, stream)
    if isinstance(stream, AudioStream):
        return _with_sound(known, stream)
    return known


def _with_picture(known: MediaStream, stream: VideoStream) -> MediaStream:
    return msgspec.structs.replace(
        known,
        bit_rate=_integer(stream.bit_rate, BITS_PER_SECOND_MAX),
        width=_integer(stream.width, SIDE_PIXELS_MAX),
        height=_integer(stream.height, SIDE_PIXELS_MAX),
        frame_rate=_number(stream.average_rate or stream.guessed_rate, FRAME_RATE_MAX) or None,
        pixel_format=_text(stream.pix_fmt, NAME_LENGTH_MAX),
    )


def _with_sound(known: MediaStream, stream: AudioStream) -> MediaStream:
    return msgspec.structs.replace(
        known,
        bit_rate=_integer(stream.bit_rate, BITS_PER_SECOND_MAX),
        channels=_integer(stream.channels, CHANNELS_MAX),
        channel_layout=_text(stream.layout.name, NAME_LENGTH_MAX),
        sample_rate=_integer(stream.sample_rate, 10_000_000),
    )


def _stream_seconds(stream: Stream) -> float | None:
    if stream.duration is None or stream.time_base is None:
        return None
    return _number(stream.duration * stream.time_base, SECONDS_MAX)


def _text(value: str | None, length_max: int) -> str | None:
    return clean_text(value, length_max).strip() or None if value else None


def _integer(value: int | None, largest: int) -> int | None:
    return value if value is not None and 0 < value <= largest else None


def _number(value: float | Fraction | None, largest: int) -> float | None:
    """`value` to the millionth, None unless it is finite, not negative and at most `largest`."""
    if value is None or not math.isfinite(value) or not 0 <= value <= largest:
        return None
    return round(float(value), 6)
