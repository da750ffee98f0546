"""Every name becomes a key that any store, file system and URL takes, and its own."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.object_key import SEGMENT_LENGTH_MAX, SEGMENTS_MAX, is_object_key, object_key

names = st.text(st.characters() | st.sampled_from("./\\# -_\x00é"), max_size=150)


@pytest.mark.parametrize(
    "name",
    ["video.mp4", "subtitles/0-eng.srt", "thumbnail.webp", "a-b_c.d", "v..v", "x" * 100],
)
def test_a_plain_name_is_kept(name: str) -> None:
    assert object_key(name, below=["account", 7]) == f"account/7/{name}"


@pytest.mark.parametrize(
    ("name", "beginning", "ending"),
    [
        ("../../etc/passwd", "etc/", "passwd"),
        ("/etc/passwd", "etc/", "passwd"),
        (".hidden", "hidden-", ""),
        ("-rf", "rf-", ""),
        ("Ünïcödé.mp4", "Unicode-", ".mp4"),
        ("日本語.mp4", "mp4-", ""),
        ("two words.mp4", "two_words-", ".mp4"),
        ("a\\..\\b.mp4", "a_.._b-", ".mp4"),
        ("nul\x00.mp4", "nul_-", ".mp4"),
        ("", "object", ""),
        ("...", "object", ""),
        ("x" * 300 + ".mp4", "x" * 60, ""),
    ],
)
def test_any_other_name_is_made_plain(name: str, beginning: str, ending: str) -> None:
    key = object_key(name)
    assert key.startswith(beginning)
    assert key.endswith(ending)


@given(names)
@example("#1")
@example("\ud800")
@example("a/" * 500)
@example("con.aux")
def test_every_name_becomes_a_key(name: str) -> None:
    key = object_key(name, below=["account", 7])
    segments = key.split("/")
    assert is_object_key(key)
    assert len(segments) <= SEGMENTS_MAX + 2
    assert all(len(segment) <= SEGMENT_LENGTH_MAX for segment in segments)
    assert not {"", ".", ".."} & set(segments)


@given(names, names)
@example("a b", "a_b")
@example("é", "e")
@example("x" * 120, "x" * 121)
@example("A", "a")
@example("/".join("abcdefghijk"), "/".join("abcdefghixk"))
def test_two_names_are_two_keys(one: str, other: str) -> None:
    plain_one, plain_other = (
        [part for part in name.split("/") if part.strip(".")] or ["object"] for name in (one, other)
    )
    assert (object_key(one) == object_key(other)) == (plain_one == plain_other)


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a//b", "..", "a/..", "a b", "a#1", "a\n"])
def test_what_is_no_key(key: str) -> None:
    assert not is_object_key(key)
