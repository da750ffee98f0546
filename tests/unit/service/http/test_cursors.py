"""Cursors open for those, and for that, which they were made for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.cursors import Cursors
from service.http.refusals import InvalidCursor


def _cursors(secret: bytes = b"s" * 32) -> Cursors:
    cursors = Cursors()
    cursors.use(secret)
    return cursors


@given(st.binary(max_size=40), st.binary(max_size=20), st.binary(max_size=20))
def test_a_cursor_gives_its_position_back(position: bytes, owner: bytes, listing: bytes) -> None:
    cursor = _cursors().seal(position, owner, listing)

    assert _cursors().open(cursor, owner, listing) == position
    for other in (
        (cursor, owner + b"x", listing),
        (cursor, owner, listing + b"x"),
        (cursor + "AAAA", owner, listing),
        (cursor[:-4], owner, listing),
    ):
        with pytest.raises(InvalidCursor):
            _cursors().open(*other)
    with pytest.raises(InvalidCursor):
        _cursors(b"t" * 32).open(cursor, owner, listing)


def test_parts_do_not_run_together() -> None:
    cursor = _cursors().seal(b"p", b"ab", b"c")

    with pytest.raises(InvalidCursor):
        _cursors().open(cursor, b"a", b"bc")


@given(st.text(max_size=60))
def test_any_text_is_refused_without_a_fault(text: str) -> None:
    with pytest.raises(InvalidCursor):
        _cursors().open(text, b"owner", b"list")


def test_a_cursor_has_one_spelling_only() -> None:
    """The last letter of unpadded base64 has bits that decoding ignores."""
    cursors = Cursors()
    cursors.use(b"k" * 32)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for number in range(64):
        cursor = cursors.seal(number.to_bytes(16, "big"), b"owner", b"list")
        for letter in letters.replace(cursor[-1], ""):
            with pytest.raises(InvalidCursor):
                cursors.open(cursor[:-1] + letter, b"owner", b"list")
