"""Whatever a provider or a media file says, what is kept of it can be stored, and stays bounded."""

from __future__ import annotations

import json
import math
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cleaning import NUMBER_MAX, Json, clean_json, clean_number, clean_text

Foreign: TypeAlias = object

anything_textual = st.text(st.characters(), max_size=60)  # includes NUL and lone surrogates
numbers = st.floats() | st.integers() | st.integers(2**62, 2**70) | st.integers(-(2**70), -(2**62))
scalars = st.none() | st.booleans() | numbers | anything_textual | st.binary(max_size=5)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.tuples(inner, inner)
        | st.dictionaries(anything_textual | st.integers(), inner, max_size=6)
    ),
    max_leaves=40,
)


def depth(value: Json) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def values_inside(value: Json) -> list[Json]:
    inner = (
        list(value.values())
        if isinstance(value, dict)
        else value
        if isinstance(value, list)
        else []
    )
    return inner + [deeper for item in inner for deeper in values_inside(item)]


def texts_inside(value: Json) -> list[str]:
    everything = [value, *values_inside(value)]
    keys = [key for item in everything if isinstance(item, dict) for key in item]
    return keys + [item for item in everything if isinstance(item, str)]


@given(documents)
def test_clean_json_is_utf8_that_jsonb_accepts(document: Foreign) -> None:
    encoded = json.dumps(clean_json(document), allow_nan=False, ensure_ascii=False)
    encoded.encode("utf-8")
    assert not set(map(chr, range(0x20))) - {"\n", "\t"} & set(
        "".join(texts_inside(clean_json(document)))
    )


@given(documents)
def test_clean_json_keeps_numbers_within_64_bits(document: Foreign) -> None:
    cleaned = clean_json(document)
    for value in [cleaned, *values_inside(cleaned)]:
        if isinstance(value, int | float):
            assert abs(value) <= NUMBER_MAX


@given(documents, st.integers(0, 5), st.integers(0, 12), st.integers(0, 20))
def test_clean_json_twice_is_clean_json_once(
    document: Foreign, depth_max: int, items_max: int, length_max: int
) -> None:
    bounds = {"depth_max": depth_max, "items_max": items_max, "length_max": length_max}
    once = clean_json(document, **bounds)
    assert repr(clean_json(once, **bounds)) == repr(once)


@given(documents, st.integers(0, 5), st.integers(0, 12), st.integers(0, 20))
def test_clean_json_stays_within_its_bounds(
    document: Foreign, depth_max: int, items_max: int, length_max: int
) -> None:
    cleaned = clean_json(document, depth_max=depth_max, items_max=items_max, length_max=length_max)
    assert depth(cleaned) <= depth_max
    assert len(values_inside(cleaned)) <= items_max
    assert all(len(text) <= length_max for text in texts_inside(cleaned))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_clean_text_leaves_ordinary_text_alone(text: str) -> None:
    assert clean_text(text, len(text)) == text


@given(anything_textual, st.integers(0, 30))
def test_clean_text_twice_is_clean_text_once(text: str, length_max: int) -> None:
    once = clean_text(text, length_max)
    assert clean_text(once, length_max) == once
    assert len(once) <= length_max


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\x00b", "ab"),
        ("bell\x07 escape\x1b[31m", "bell escape[31m"),
        ("line\r\nline\rline\n\ttab", "line\nline\nline\n\ttab"),
        ("lone \ud800 and \udfff", "lone  and "),
        ("del\x7f c1\x85\x9b", "del c1"),
        ("日本語 \U0001f430", "日本語 \U0001f430"),
    ],
)
def test_clean_text_removes_what_cannot_be_stored(dirty: str, clean: str) -> None:
    assert clean_text(dirty, 100) == clean


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (1.5, 1.5),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (NUMBER_MAX, NUMBER_MAX),
        (-NUMBER_MAX, -NUMBER_MAX),
        (NUMBER_MAX + 1, None),
        (-NUMBER_MAX - 1, None),
        pytest.param(10**5000, None, id="5001 digits"),
        (9.2e18, 9.2e18),
        (2.0**63, None),
        (-1e308, None),
        (5e-324, 5e-324),
        (None, None),
    ],
)
def test_clean_number_keeps_only_what_every_reader_holds(
    number: float | None, kept: float | None
) -> None:
    assert clean_number(number) == kept


def test_a_document_nested_past_any_stack_is_cut_not_crashed() -> None:
    document: list[object] = []
    for _ in range(100_000):
        document = [document]
    assert depth(clean_json(document, depth_max=10)) == 10


def test_of_keys_equal_after_cleaning_the_first_stays() -> None:
    assert clean_json({"a\x00": 1, "a": 2, 7: 3}) == {"a": 1}


def test_what_json_cannot_hold_becomes_none() -> None:
    assert clean_json([b"bytes", object(), {1, 2}, (1, "x")]) == [None, None, None, [1, "x"]]
