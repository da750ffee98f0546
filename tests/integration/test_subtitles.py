"""Subtitles come out of a file as SRT and text, right where they are well, bounded where not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters import subtitles
from adapters.subtitles import Cue, as_srt, as_text, extract_subtitles, plain_text
from tallystick.handler import TaskFailure
from tests.integration.media_clips import CLIP, LINES, SRT, TEXT, Line, Track, mux_subtitles


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "mov_text"), ("mkv", "subrip"), ("mkv", "ass"), ("mkv", "webvtt")],
)
def test_text_subtitles_become_srt_and_text(tmp_path: Path, suffix: str, codec: str) -> None:
    file = mux_subtitles(tmp_path / f"clip.{suffix}", Track(codec, LINES))
    (track,) = extract_subtitles(file, tmp_path)
    assert (track.index, track.codec, track.language) == (2, codec, "eng")
    assert (track.cues, track.truncated, track.sample) == (2, False, TEXT)
    assert (tmp_path / str(track.srt)).read_text() == SRT
    assert (tmp_path / str(track.text)).read_text() == TEXT


def test_each_stream_is_a_track_of_its_own(tmp_path: Path) -> None:
    file = mux_subtitles(
        tmp_path / "clip.mkv",
        Track("subrip", [Line(1, 2, "eins")], "deu", "Deutsch"),
        Track("ass", [Line(1, 2, "une")], "fra", "Français"),
        Track("subrip", [], "spa", ""),
    )
    german, french, spanish = extract_subtitles(file, tmp_path)
    assert (german.sample, french.sample, spanish.sample) == ("eins", "une", "")
    assert [track.language for track in (german, french, spanish)] == ["deu", "fra", "spa"]
    assert spanish.cues == 0


def test_a_clip_without_subtitles_has_none(tmp_path: Path) -> None:
    assert extract_subtitles(CLIP, tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_text_are_listed_and_not_read(tmp_path: Path) -> None:
    """A stream whose codec id says that it holds the pictures of a Blu-ray."""
    file = mux_subtitles(tmp_path / "clip.mkv", Track("subrip", LINES))
    content = file.read_bytes().replace(b"S_TEXT/UTF8", b"S_HDMV/PGS\x00")
    file.write_bytes(content)
    (track,) = extract_subtitles(file, tmp_path)
    assert (track.codec, track.cues) == ("hdmv_pgs_subtitle", 0)
    assert track.srt is track.text is None


def test_foreign_writing_is_kept(tmp_path: Path) -> None:
    words = "日本語 — ¿Qué? \U0001f430"
    file = mux_subtitles(tmp_path / "clip.mkv", Track("subrip", [Line(1, 2, words)]))
    assert extract_subtitles(file, tmp_path)[0].sample == words


def test_cues_come_in_the_order_of_the_film(tmp_path: Path) -> None:
    lines = [Line(3, 4, "third"), Line(1, 2, "first"), Line(2, 3, "second")]
    file = mux_subtitles(tmp_path / "clip.mkv", Track("subrip", lines))
    assert extract_subtitles(file, tmp_path)[0].sample == "first\nsecond\nthird"


def test_a_damaged_cue_is_passed_over(tmp_path: Path) -> None:
    """The index says that it is one byte long, too short to say how long it is."""
    lines = [Line(1, 2, "bad apple"), Line(3, 4, "good apple")]
    file = mux_subtitles(tmp_path / "clip.mp4", Track("mov_text", lines))
    content = file.read_bytes()
    sizes = content.rindex(b"stsz") + 16
    size = (2 + len("bad apple")).to_bytes(4, "big")
    entry = content.index(size, sizes)
    file.write_bytes(content[:entry] + b"\x00\x00\x00\x01" + content[entry + 4 :])
    (track,) = extract_subtitles(file, tmp_path)
    assert (track.cues, track.sample) == (1, "good apple")


def test_cues_past_the_limit_are_left_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subtitles, "CUES_MAX", 3)
    lines = [Line(second, second + 0.5, f"line {second}") for second in range(5)]
    file = mux_subtitles(tmp_path / "clip.mkv", Track("subrip", lines))
    (track,) = extract_subtitles(file, tmp_path)
    assert (track.cues, track.truncated) == (3, True)
    assert track.sample == "line 0\nline 1\nline 2"


def test_text_past_the_limit_is_left_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subtitles, "LENGTH_MAX", 1_500)
    lines = [Line(second, second + 0.5, "x" * 1_000) for second in range(5)]
    file = mux_subtitles(tmp_path / "clip.mkv", Track("subrip", lines))
    (track,) = extract_subtitles(file, tmp_path)
    assert (track.cues, track.truncated) == (2, True)


def test_a_cue_that_goes_on_for_ever_is_cut(tmp_path: Path) -> None:
    file = mux_subtitles(tmp_path / "clip.mkv", Track("subrip", [Line(1, 2, "x" * 100_000)]))
    assert len((tmp_path / str(extract_subtitles(file, tmp_path)[0].text)).read_text()) == 2_000


def test_what_is_no_media_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "media"
    file.write_text(SRT)
    with pytest.raises(TaskFailure) as failure:
        extract_subtitles(file, tmp_path)
    assert failure.value.type == "param_error"


def event(text: str) -> bytes:
    return f"0,0,Default,,0,0,0,,{text}".encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("ass", "words"),
    [
        ("plain", "plain"),
        ("one, two, three", "one, two, three"),
        ("{\\b1}bold{\\b0} {\\an8\\pos(10,10)}and placed", "bold and placed"),
        ("{a comment}said", "said"),
        ("two\\Nlines\\nand a\\hspace", "two\nlines\nand a space"),
        ("{\\p1}m 0 0 l 100 0 100 100{\\p0}", ""),
        ("blank\\N\\N  \\Nlines", "blank\nlines"),
        ("1\\N00:00:01,000 --> 00:00:02,000\\Nforged", "1\n00:00:01,000 -> 00:00:02,000\nforged"),
        ("nul\x00bell\x07", "nulbell"),
        ("line\u2028separator", "line\nseparator"),
        ("{unclosed", "{unclosed"),
        ("", ""),
    ],
)
def test_only_the_words_of_an_event_remain(ass: str, words: str) -> None:
    assert plain_text(event(ass)) == words


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert plain_text(event("a") + b"\xff\xfe") == "a\ufffd\ufffd"


@given(st.binary(max_size=300) | st.text(st.characters()).map(event))
@example(b"")
@example(b"," * 20)
@example(event("{" * 50_000))
def test_any_event_gives_lines_that_srt_can_hold(ass: bytes) -> None:
    words = plain_text(ass)
    words.encode("utf-8")
    assert "-->" not in words
    assert len(words) <= subtitles.CUE_LENGTH_MAX
    assert all(line.strip() for line in words.split("\n")) or words == ""


def test_clock_and_order_of_srt() -> None:
    late = Cue(start=359_999_999, end=359_999_999, text="late")
    assert as_srt([Cue(0, 61_001, "first"), late]) == (
        "1\n00:00:00,000 --> 00:01:01,001\nfirst\n\n2\n99:59:59,999 --> 99:59:59,999\nlate\n"
    )


def test_text_does_not_repeat_a_line_that_stays_on_screen() -> None:
    cues = [Cue(0, 1, "one\ntwo"), Cue(1, 2, "two\nthree"), Cue(2, 3, "three"), Cue(3, 4, "one")]
    assert as_text(cues) == "one\ntwo\nthree\none"
