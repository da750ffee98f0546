"""Media files are strangers: they are opened with the few demuxers and decoders that they need.

FFmpeg follows references out of some formats (playlists, concatenations, data references) to
other files and to the network. None of those is opened here, and nothing but the one file is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from tallystick.handler import TaskFailure

READ_BYTES = 256 * 1024
PIXELS_MAX = 8192 * 4352
"""Pixels of the largest frame that is decoded: 8K."""

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,gif,ivf,obu,"
    "m4v,h264,hevc,dv,wav,w64,mp3,aac,flac,aiff,caf,ac3,eac3,amr,dts,au"
)
"""Demuxers of files that hold all they need themselves."""
_PICTURES = """
h264 hevc av1 libdav1d vp8 vp9 libvpx libvpx-vp9 mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2
msmpeg4 wmv1 wmv2 wmv3 vc1 h261 h263 h263i flv theora mjpeg prores dnxhd dvvideo ffv1 huffyuv
ffvhuff utvideo rawvideo png gif svq1 svq3 cinepak qtrle vp6 vp6f
"""
_SOUNDS = """
aac aac_latm mp3 mp3float mp2 mp2float ac3 eac3 dca truehd mlp opus libopus vorbis libvorbis flac
alac wmav1 wmav2 wmapro amrnb amrwb libopencore_amrnb libopencore_amrwb pcm_alaw pcm_mulaw pcm_u8
pcm_s8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le
pcm_f64be pcm_dvd pcm_bluray
"""
VIDEO_CODECS = frozenset(_PICTURES.split())
"""Decoders that may touch pictures."""
AUDIO_CODECS = frozenset(_SOUNDS.split())
"""Decoders that FFmpeg may ask for the parameters of a stream; nothing here decodes sound."""
TEXT_CODECS = frozenset({"subrip", "srt", "mov_text", "ass", "ssa", "webvtt", "text"})
"""Decoders of subtitles that are text."""

_OPTIONS = {
    "protocol_whitelist": "none",
    "format_whitelist": FORMATS,
    "codec_whitelist": ",".join(sorted(VIDEO_CODECS | TEXT_CODECS | AUDIO_CODECS)),
    "max_pixels": str(PIXELS_MAX),
    "enable_drefs": "0",
}


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """The file at `path`, open for reading.

    Raises `TaskFailure` of type param_error for what is no readable media, also when it shows
    inside the `with` block.
    """
    with refusals(), path.open("rb") as file:
        container = av.open(
            file,
            "r",
            options=_OPTIONS,
            metadata_errors="replace",
            buffer_size=READ_BYTES,
            io_open=_refuse_reference,
        )
        with container:
            yield container


def decoder_of(stream: Stream) -> CodecContext | None:
    """The decoder that FFmpeg has for `stream`; None when it has none, whatever the types say."""
    return cast("CodecContext | None", stream.codec_context)


@contextmanager
def refusals() -> Iterator[None]:
    """Raise what FFmpeg says of a file it cannot read as `TaskFailure` of type param_error."""
    try:
        yield
    except MemoryError as error:
        raise TaskFailure("param_error", "The file needs too much memory to be read.") from error
    except FFmpegError as error:
        message = "The file is no video or audio that can be read, or it is damaged."
        raise TaskFailure("param_error", message) from error


def _refuse_reference(*_: object) -> NoReturn:
    raise TaskFailure("param_error", "The file refers to other files, which are not read.")
