"""The bytes of JSON bodies, judged against a plain recursive model of what may be stored."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.raw_json import guard_json, mended_json
from service.http.refusals import MalformedRequest

DEPTH = 4
EDGE = 2**63
TEXTS = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(
    ["\0", "\ud800", "\udfff", "\ud83d\ude00", "\\u0000", "\\", '"', "[[[[[[", '\\"', "9" * 30]
)
NUMBERS = (
    st.integers(-EDGE - 2, EDGE + 2)
    | st.sampled_from([EDGE, EDGE - 1, -EDGE, 1 - EDGE, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def _is_storable(value: object, depth: int = 0) -> bool:
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list):
        inner = value
    elif isinstance(value, str):
        return "\0" not in value and not any(0xD800 <= ord(c) <= 0xDFFF for c in value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < EDGE
    else:
        return True
    return depth < DEPTH and all(_is_storable(item, depth + 1) for item in inner)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _passes(body: bytes) -> bool:
    try:
        guard_json(body, DEPTH)
    except MalformedRequest:
        return False
    return True


@given(DOCUMENTS)
def test_just_the_storable_passes(document: object) -> None:
    escaped = json.dumps(document).encode()
    # A pair of escapes reads as one character, so the model reads it back first.
    assert _passes(escaped) == _is_storable(json.loads(escaped))


@given(DOCUMENTS)
def test_unescaped_text_is_judged_alike(document: object) -> None:
    plain = json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")
    assert _passes(plain) == _is_storable(document)


@given(st.binary(max_size=40))
def test_any_bytes_are_judged_without_a_fault(body: bytes) -> None:
    if _passes(body):
        body.decode()
    mended_json(body.replace(b"[", b"").replace(b"{", b""), DEPTH)


@given(DOCUMENTS.filter(lambda document: _depth(document) <= DEPTH))
def test_what_is_mended_is_readable_and_storable(document: object) -> None:
    mended = mended_json(json.dumps(document).encode(), DEPTH)

    assert _is_storable(msgspec.json.decode(mended))
    assert _passes(mended)


@given(DOCUMENTS.filter(lambda document: _depth(document) <= DEPTH and _is_storable(document)))
def test_what_is_storable_is_not_mended(document: object) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()

    assert mended_json(body, DEPTH) == body


def test_depth_counts_containers_and_not_brackets_in_text() -> None:
    assert _passes(b"[" * DEPTH + b"]" * DEPTH)
    assert not _passes(b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1))
    assert _passes(b'"' + b"[" * 100 + b'"')
    assert _passes(b'["\\"[[[[[["]')


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-999", "0.1", "9" * 18, "1" + "0" * 18])
def test_numbers_within_range_pass(number: str) -> None:
    assert _passes(number.encode())
    assert math.isfinite(float(number))


@pytest.mark.parametrize("number", ["1e309", "-1E+400", "9" * 20, "-" + "9" * 19 + "0", "9" * 500])
def test_numbers_out_of_range_do_not(number: str) -> None:
    assert not _passes(b'{"a":' + number.encode() + b"}")
    assert mended_json(b'{"a":' + number.encode() + b"}", DEPTH) == b'{"a":null}'
