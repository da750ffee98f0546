"""Metadata of real files is right, and what hostile files say is cleaned or refused."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from adapters import media_file
from adapters.media_probe import STREAMS_MAX, TITLE_LENGTH_MAX, probe_media
from tallystick.handler import TaskFailure
from tests.integration.media_clips import CLIP, LINES, Track, mux_subtitles, silence


def test_the_clip_is_described() -> None:
    info = probe_media(CLIP)
    video, audio = info.streams
    assert (info.format, info.streams_total) == ("mov,mp4,m4a,3gp,3g2,mj2", 2)
    assert info.duration_seconds == 5.312
    assert info.bit_rate == pytest.approx(1_589_963, rel=0.01)
    assert (video.type, video.codec, video.width, video.height) == ("video", "h264", 1280, 720)
    assert (video.frame_rate, video.pixel_format, video.profile) == (25.0, "yuv420p", "Main")
    assert video.duration_seconds == 5.28
    assert (audio.type, audio.codec, audio.channels) == ("audio", "aac", 6)
    assert (audio.sample_rate, audio.channel_layout) == (48_000, "5.1")
    assert (video.channels, audio.width, video.language) == (None, None, None)


@pytest.mark.parametrize(
    ("suffix", "codec", "named"),
    [("mp4", "mov_text", "mov_text"), ("mkv", "subrip", "subrip"), ("mkv", "webvtt", "webvtt")],
)
def test_subtitle_streams_are_described(
    tmp_path: Path, suffix: str, codec: str, named: str
) -> None:
    file = mux_subtitles(
        tmp_path / f"clip.{suffix}",
        Track(codec, LINES, "deu", "Deutsch"),
        Track(codec, LINES, "fra", "Français"),
    )
    german, french = probe_media(file).streams[2:]
    assert (german.type, german.codec, german.language, german.title) == (
        "subtitle",
        named,
        "deu",
        "Deutsch",
    )
    assert (french.language, french.title) == ("fra", "Français")


def test_sound_alone_is_media(tmp_path: Path) -> None:
    info = probe_media(silence(tmp_path / "sound.mka", title="A title"))
    assert [stream.type for stream in info.streams] == ["audio"]
    assert info.title == "A title"


def test_titles_are_cleaned_and_bounded(tmp_path: Path) -> None:
    info = probe_media(silence(tmp_path / "sound.mka", title="bell\x07 \x1b[31m" + "x" * 5_000))
    assert info.title is not None
    assert info.title.startswith("bell [31mxxx")
    assert len(info.title) == TITLE_LENGTH_MAX


def test_more_streams_than_are_listed_are_counted(tmp_path: Path) -> None:
    tracks = [Track("subrip", LINES)] * (STREAMS_MAX + 5)
    info = probe_media(mux_subtitles(tmp_path / "clip.mkv", *tracks))
    assert info.streams_total == STREAMS_MAX + 7
    assert len(info.streams) == STREAMS_MAX


def test_the_same_file_is_described_the_same_whatever_its_name(tmp_path: Path) -> None:
    misnamed = tmp_path / "notes.txt"
    misnamed.write_bytes(CLIP.read_bytes())
    assert probe_media(misnamed) == probe_media(CLIP)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>"
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\x00" * 100_000,
        b"GIF89a",
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"\x1aE\xdf\xa3" * 1_000,
        b"\x00\x00\x00\x18ftypisom" + b"\xff" * 1_000,
        b"\x00\x00\x00\x01moov",
        b"\x47" * 188 * 50,
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f",
        b"<html><body>not found</body></html>",
        b"#!/bin/sh\necho hello\n",
        b"ffconcat version 1.0\nfile 'clip.mp4'\n",
        PLAYLIST.format("clip.mp4").encode(),
        PLAYLIST.format("file:///etc/passwd").encode(),
        PLAYLIST.format("http://169.254.169.254/latest/meta-data").encode(),
        PLAYLIST.format("concat:clip.mp4|clip.mp4").encode(),
        MPD.format("http://169.254.169.254/").encode(),
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        b"[playlist]\nFile1=/etc/passwd\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
    ],
)
def test_what_is_no_media_is_refused(tmp_path: Path, content: bytes) -> None:
    """Above all what would lead FFmpeg to other files: a playable clip lies beside it."""
    (tmp_path / "clip.mp4").write_bytes(CLIP.read_bytes())
    file = tmp_path / "media"
    file.write_bytes(content)
    with pytest.raises(TaskFailure) as failure:
        probe_media(file)
    assert failure.value.type == "param_error"
    assert str(tmp_path) not in failure.value.message


@pytest.mark.parametrize("leads_to", ["clip.mp4", "file:clip.mp4", "{folder}/clip.mp4"])
def test_even_a_playlist_that_was_let_in_would_lead_nowhere(
    tmp_path: Path, leads_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second line: opened with the playlist demuxer allowed, it may open nothing itself."""
    (tmp_path / "clip.mp4").write_bytes(CLIP.read_bytes())
    file = tmp_path / "media.m3u8"
    file.write_text(PLAYLIST.format(leads_to.format(folder=tmp_path)))
    monkeypatch.setitem(media_file._OPTIONS, "format_whitelist", f"{media_file.FORMATS},hls")
    monkeypatch.setitem(media_file._OPTIONS, "extension_picky", "0")
    with pytest.raises(TaskFailure) as failure:
        probe_media(file)
    assert failure.value.type == "param_error"


def test_words_in_no_encoding_are_replaced(tmp_path: Path) -> None:
    file = silence(tmp_path / "sound.mka", title="a title")
    file.write_bytes(file.read_bytes().replace(b"a title", b"a\xff\xfe\x00le"))
    assert probe_media(file).title == "a\ufffd\ufffd"


@pytest.mark.parametrize("kept", [100, 5_000, 500_000])
def test_a_truncated_clip_is_refused(tmp_path: Path, kept: int) -> None:
    """The clip has its index at the end."""
    file = tmp_path / "media"
    file.write_bytes(CLIP.read_bytes()[:kept])
    with pytest.raises(TaskFailure) as failure:
        probe_media(file)
    assert failure.value.type == "param_error"


def test_what_is_found_survives_json(tmp_path: Path) -> None:
    info = probe_media(mux_subtitles(tmp_path / "clip.mkv", Track("subrip", LINES)))
    encoded = msgspec.json.encode(info)
    assert msgspec.json.decode(encoded, type=type(info)) == info
    assert json.loads(encoded)["streams"][2]["language"] == "eng"
