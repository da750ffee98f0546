"""Subtitles are taken out of a media file as SRT, which every player reads, and as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, NamedTuple

import av
import msgspec
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet
from msgspec import Meta

from adapters.media_file import TEXT_CODECS, decoder_of, open_media
from adapters.media_probe import STREAMS_MAX, Language, Name, Title, codec_of, language_of, title_of
from domain.cleaning import clean_text

CUES_MAX = 50_000
"""Cues taken from one file, all its streams together."""
LENGTH_MAX = 4_000_000
"""Characters taken from one file, all its streams together."""
CUE_LENGTH_MAX = 2_000
CUE_MILLISECONDS_MAX = 3_600_000
CUE_MILLISECONDS_DEFAULT = 2_000
MILLISECONDS_MAX = 100 * 3_600_000 - 1
"""Latest moment of a cue: SRT has two digits for hours."""
SAMPLE_LENGTH_MAX = 1_000

_EVENT_FIELDS = 8
_OVERRIDE = re.compile(r"\{[^}]*\}")
_DRAWING = re.compile(r"\{[^}]*\\p[1-9]")
_BREAK = re.compile(r"\\[Nn]")


class Cue(NamedTuple):
    """One piece of text, shown from `start` to `end` milliseconds after the film begins."""

    start: int
    end: int
    text: str


class SubtitleTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A subtitle stream. `srt` and `text` name the files written; None for pictures of text.

    `sample` is the beginning of the text. `truncated` says that a limit cut the track short.
    """

    index: Annotated[int, Meta(ge=0)]
    codec: Name | None
    language: Language | None
    title: Title | None
    cues: Annotated[int, Meta(ge=0, le=CUES_MAX)] = 0
    truncated: bool = False
    sample: Annotated[str, Meta(max_length=SAMPLE_LENGTH_MAX)] = ""
    srt: Annotated[str, Meta(pattern=r"^[0-9]+\.srt$")] | None = None
    text: Annotated[str, Meta(pattern=r"^[0-9]+\.txt$")] | None = None


def extract_subtitles(path: Path, folder: Path) -> tuple[SubtitleTrack, ...]:
    """List the first `STREAMS_MAX` subtitle streams of the file, and write those that are text.

    Files are named `<index>.srt` and `<index>.txt` in `folder`. Blocks; reads the whole file.
    Raises `TaskFailure` of type param_error for what is no media.
    """
    with open_media(path) as container:
        streams = container.streams.subtitles[:STREAMS_MAX]
        readable = tuple(stream for stream in streams if _is_text(stream))
        cues = _Collected(stream.index for stream in readable)
        for index, cue in _read_cues(container, readable):
            if not cues.take(index, cue):
                break
        return tuple(_write_track(stream, cues, folder) for stream in streams)


class _Collected:
    """Cues by stream index, with what is left of the file's budget."""

    def __init__(self, indexes: Iterable[int]) -> None:
        self.tracks: dict[int, list[Cue]] = {index: [] for index in indexes}
        self.cues_left = CUES_MAX
        self.length_left = LENGTH_MAX

    @property
    def exhausted(self) -> bool:
        return self.cues_left <= 0 or self.length_left <= 0

    def take(self, index: int, cue: Cue) -> bool:
        """Keep `cue`; whether there is room for more."""
        self.tracks[index].append(cue)
        self.cues_left -= 1
        self.length_left -= len(cue.text)
        return not self.exhausted


def _is_text(stream: SubtitleStream) -> bool:
    decoder = decoder_of(stream)
    return decoder is not None and decoder.name in TEXT_CODECS


def _read_cues(
    container: InputContainer, streams: tuple[SubtitleStream, ...]
) -> Iterator[tuple[int, Cue]]:
    """Cues of `streams` with their index, as the file has them; damaged ones are passed over."""
    if not streams:
        return
    for stream in container.streams:
        if stream not in streams:
            stream.discard = Discard.all
    offset = Fraction(max(container.start_time or 0, 0), av.time_base)
    for packet in container.demux(streams):
        cue = _decode_cue(packet, offset)
        if cue is not None:
            yield packet.stream_index, cue


def _decode_cue(packet: Packet[SubtitleStream], offset: Fraction) -> Cue | None:
    time_base = packet.stream.time_base
    if packet.pts is None or time_base is None or packet.size == 0:
        return None
    try:
        shown = packet.stream.codec_context.decode2(packet)
    except FFmpegError:
        return None
    text = _text_of(shown) if shown is not None else ""
    start = round((packet.pts * time_base - offset) * 1000)
    if shown is None or not text or not 0 <= start <= MILLISECONDS_MAX:
        return None
    end = start + _milliseconds(packet.duration, time_base, shown)
    return Cue(start, min(end, MILLISECONDS_MAX), text)


def _milliseconds(duration: int | None, time_base: Fraction, shown: SubtitleSet) -> int:
    """How long a cue is shown: what the container says, else what the codec says, else a guess."""
    declared = round((duration or 0) * time_base * 1000)
    lasting = declared or shown.end_display_time - shown.start_display_time
    return min(lasting, CUE_MILLISECONDS_MAX) if lasting > 0 else CUE_MILLISECONDS_DEFAULT


def _text_of(shown: SubtitleSet) -> str:
    events = [rect.ass for rect in shown if isinstance(rect, AssSubtitle)]
    return "\n".join(filter(None, map(plain_text, events)))[:CUE_LENGTH_MAX]


def plain_text(event: bytes) -> str:
    """The words of one ASS event: no styles, drawings or empty lines, nothing SRT would read."""
    body = event[: 8 * CUE_LENGTH_MAX].decode("utf-8", "replace").split(",", _EVENT_FIELDS)[-1]
    if _DRAWING.search(body):
        return ""
    words = _BREAK.sub("\n", _OVERRIDE.sub("", body)).replace("\\h", " ")
    lines = clean_text(words, CUE_LENGTH_MAX).replace("-->", "->").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _write_track(stream: SubtitleStream, cues: _Collected, folder: Path) -> SubtitleTrack:
    track = SubtitleTrack(
        index=stream.index,
        codec=codec_of(stream),
        language=language_of(stream.metadata),
        title=title_of(stream.metadata),
    )
    if stream.index not in cues.tracks:
        return track
    ordered = sorted(cues.tracks[stream.index])
    text = as_text(ordered)
    srt_file, text_file = folder / f"{stream.index}.srt", folder / f"{stream.index}.txt"
    srt_file.write_text(as_srt(ordered), encoding="utf-8", newline="\n")
    text_file.write_text(text, encoding="utf-8", newline="\n")
    return msgspec.structs.replace(
        track,
        cues=len(ordered),
        truncated=cues.exhausted,
        sample=text[:SAMPLE_LENGTH_MAX],
        srt=srt_file.name,
        text=text_file.name,
    )


def as_srt(cues: Iterable[Cue]) -> str:
    """`cues` in the SubRip format, numbered from 1."""
    blocks = (
        f"{number}\n{_clock(cue.start)} --> {_clock(cue.end)}\n{cue.text}\n"
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def as_text(cues: Iterable[Cue]) -> str:
    """The words of `cues`, one line each, without lines that only repeat the one before."""
    lines: list[str] = []
    for cue in cues:
        lines += [line for line in cue.text.splitlines() if lines[-1:] != [line]]
    return "\n".join(lines)


def _clock(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}"
