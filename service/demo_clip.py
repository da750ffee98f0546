"""The demo's video: the shipped clip with a subtitle track muxed in, made once and kept."""

from __future__ import annotations

import io
import os
from itertools import chain
from pathlib import Path

import av

from domain.errors import TallystickError

SOURCE = Path(__file__).parents[1] / "examples" / "media" / "bigbuckbunny.mp4"
NAME = "bigbuckbunny-with-subtitles.mkv"
LANGUAGE = "eng"
SUBTITLES = """\
1
00:00:00,500 --> 00:00:02,300
Every job has its price.

2
00:00:02,500 --> 00:00:05,000
It is held when you ask, and paid when it is done.
"""


class ClipMissing(TallystickError):
    """The clip is not where the sources have it."""


def ensure_clip(folder: Path) -> Path:
    """The clip in `folder`, made there unless it is. Raises ClipMissing, and `OSError`."""
    clip = folder / NAME
    if clip.exists():
        return clip
    if not SOURCE.exists():
        raise ClipMissing(f"There is no {SOURCE}: the demo runs in a copy of the sources.")
    folder.mkdir(parents=True, exist_ok=True)
    draft = clip.with_suffix(f".{os.getpid()}")
    _mux(SOURCE, draft)
    draft.replace(clip)
    return clip


def _mux(source: Path, target: Path) -> None:
    """Copy the clip's streams as they are, and the subtitles beside them."""
    with (
        av.open(source, "r") as clip,
        av.open(io.BytesIO(SUBTITLES.encode()), "r", format="srt") as subtitles,
        av.open(target, "w", format="matroska") as out,
    ):
        streams = [*clip.streams, *subtitles.streams]
        copies = {stream: out.add_stream_from_template(stream) for stream in streams}
        copies[subtitles.streams[0]].metadata["language"] = LANGUAGE
        for packet in chain(clip.demux(), subtitles.demux()):
            # A demuxer ends each stream with an empty packet.
            if packet.dts is not None:
                packet.stream = copies[packet.stream]
                out.mux(packet)
