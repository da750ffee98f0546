"""Real media to read: the shipped clip, the same with subtitles muxed in, and small inventions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

CLIP = Path(__file__).parents[2] / "examples" / "media" / "bigbuckbunny.mp4"
HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment
Style: Default,Arial,16,&Hffffff,0,0,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


class Line(NamedTuple):
    """One subtitle: seconds, and text as ASS writes it."""

    start: float
    end: float
    text: str


class Track(NamedTuple):
    """One subtitle stream to mux in."""

    codec: str
    lines: Sequence[Line]
    language: str = "eng"
    title: str = "English"


LINES = (
    Line(0.5, 1.5, "Good morning,\\Nmeadow."),
    Line(2.0, 3.25, "{\\i1}Where{\\i0} are my apples?"),
)
SRT = """1
00:00:00,500 --> 00:00:01,500
Good morning,
meadow.

2
00:00:02,000 --> 00:00:03,250
Where are my apples?
"""
TEXT = "Good morning,\nmeadow.\nWhere are my apples?"


def mux_subtitles(target: Path, *tracks: Track) -> Path:
    """The clip's own streams, untouched, with `tracks` added; the container is by the suffix."""
    with av.open(CLIP) as clip, av.open(target, "w") as out:
        copies = {stream: out.add_stream_from_template(stream) for stream in clip.streams}
        added = [_add_track(out, track) for track in tracks]
        out.start_encoding()
        for stream, track in zip(added, tracks, strict=True):
            out.mux(_packets(stream, track.lines))
        for packet in clip.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream]
                out.mux(packet)
    return target


def _add_track(out: OutputContainer, track: Track) -> SubtitleStream:
    stream = out.add_stream(track.codec)
    assert isinstance(stream, SubtitleStream)
    stream.metadata.update(language=track.language, title=track.title)
    stream.codec_context.subtitle_header = HEADER
    return stream


def _packets(stream: SubtitleStream, lines: Sequence[Line]) -> list[Packet[Stream]]:
    packets: list[Packet[Stream]] = []
    time_base = stream.time_base or Fraction(1, 1000)
    for number, line in enumerate(lines):
        start, length = int(line.start / time_base), int((line.end - line.start) / time_base)
        event = f"{number},0,Default,,0,0,0,,{line.text}".encode()
        shown = SubtitleSet.create(text=event, start=0, end=length, pts=start)
        packet = stream.codec_context.encode_subtitle(shown)
        packet.stream, packet.time_base = stream, time_base
        packet.pts = start
        packet.dts = int(min(later.start for later in lines[number:]) / time_base)
        packet.duration = length
        packets.append(packet)
    return packets


def paint_video(
    target: Path,
    paint: Callable[[int], Image.Image],
    *,
    frames: int = 50,
    codec: str = "mpeg4",
    rate: int = 10,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """A video of `frames` pictures, `rate` a second, each painted by its number."""
    with av.open(target, "w") as out:
        stream = out.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        first = paint(0)
        stream.width, stream.height = first.size
        stream.pix_fmt = "yuv420p"
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for number in range(frames):
            frame = _frame(paint(number))
            frame.pts, frame.time_base = number, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target


def _frame(image: Image.Image) -> VideoFrame:
    frame: VideoFrame = VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
    return frame.reformat(format="yuv420p")


def song_with_cover(target: Path) -> Path:
    """The clip's sound with one picture, marked as that of its cover."""
    with av.open(CLIP) as clip, av.open(target, "w") as out:
        sound = clip.streams.audio[0]
        copy = out.add_stream_from_template(sound)
        cover = out.add_stream("mjpeg", rate=1)
        assert isinstance(cover, VideoStream)
        cover.width, cover.height, cover.pix_fmt = 320, 180, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        for packet in clip.demux(sound):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
        picture = VideoFrame.from_image(  # type: ignore[no-untyped-call]
            Image.new("RGB", (320, 180), "teal")
        )
        out.mux([*cover.encode(picture), *cover.encode()])
    return target


def silence(target: Path, *, title: str | None = None) -> Path:
    """The clip's sound without its picture."""
    with av.open(CLIP) as clip, av.open(target, "w") as out:
        sound = clip.streams.audio[0]
        copy = out.add_stream_from_template(sound)
        if title is not None:
            out.metadata["title"] = title
        for packet in clip.demux(sound):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    return target
