"""What is read out of headers: preferences, conditions, idempotency keys, traces, media types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.body import guard_media
from service.http.idempotency import idempotency_key, scoped
from service.http.preferences import expected_versions, matches, wait_seconds
from service.http.refusals import InvalidHeader, UnsupportedMediaType
from service.http.trace import trace_of

MAX = 60


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        (b"wait=5", 5),
        (b"Wait = 5", 5),
        (b'wait="5"', 5),
        (b"respond-async, wait=5", 5),
        (b"wait=5; foo=bar", 5),
        (b"handling=lenient; wait=5", 5),
        (b"wait=61", MAX),
        (b"wait=999999999", MAX),
        (b"wait=9999999999", 0),
        (b"wait=-5", 0),
        (b"wait=5s", 0),
        (b"await=5", 0),
        (b"wait=", 0),
        (b"", 0),
    ],
)
def test_preferred_waits(header: bytes | None, seconds: int) -> None:
    assert wait_seconds(header, MAX) == seconds


@given(st.binary(max_size=30))
def test_any_preference_is_read_without_a_fault(header: bytes) -> None:
    assert 0 <= wait_seconds(header, MAX) <= MAX


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, False),
        (b'"v3"', True),
        (b'W/"v3"', True),
        (b'"v2", "v3"', True),
        (b"*", True),
        (b'"v33"', False),
        (b"v3", False),
        (b"", False),
    ],
)
def test_known_versions(header: bytes | None, found: bool) -> None:  # noqa: FBT001
    assert matches(header, b'"v3"') is found


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None),
        (b"*", None),
        (b'"v3"', {3}),
        (b' "v3" , "v4"', {3, 4}),
        (b'W/"v3"', set()),
        (b'"v0"', set()),
        (b'"v03"', set()),
        (b'"other"', set()),
    ],
)
def test_expected_versions(header: bytes | None, versions: set[int] | None) -> None:
    assert expected_versions(header) == versions


@pytest.mark.parametrize("header", [b"", b"v3", b'"v3', b'"v3" "v4"', b"3", b'"v3",'])
def test_conditions_that_cannot_be_read(header: bytes) -> None:
    with pytest.raises(InvalidHeader):
        expected_versions(header)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
def test_a_quoted_key_is_read_back_whatever_is_in_it(key: str) -> None:
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert idempotency_key(quoted.encode()) == key


@given(st.binary(max_size=300))
def test_any_key_is_read_or_refused(header: bytes) -> None:
    try:
        key = idempotency_key(header)
    except InvalidHeader:
        return
    assert key is not None
    assert 1 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()


def test_keys_are_told_apart_by_everything_around_them() -> None:
    parts = [
        (b"a", "POST", "/x", "k"),
        (b"b", "POST", "/x", "k"),
        (b"a", "PUT", "/x", "k"),
        (b"a", "POST", "/y", "k"),
        (b"a", "POST", "/x", "l"),
        (b"aP", "OST", "/x", "k"),
    ]
    assert len({scoped(*part) for part in parts}) == len(parts)


@given(st.binary(max_size=70))
def test_any_traceparent_leads_to_a_good_one(header: bytes) -> None:
    trace = trace_of(header)
    again = trace_of(trace.parent)
    assert again.trace_id == trace.trace_id
    assert again.span_id != trace.span_id


def test_a_newer_version_of_traceparent_is_understood() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    header = f"01-{trace_id}-00f067aa0ba902b7-00-more".encode()
    assert (trace_of(header).trace_id, trace_of(header).flags) == (trace_id, "00")


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-type": b"application/json"},
        {b"content-type": b"application/json; charset=utf-8"},
        {b"content-type": b'APPLICATION/JSON;charset="UTF-8"'},
        {b"content-type": b"application/json", b"content-encoding": b"identity"},
    ],
)
def test_plain_json_is_taken(headers: dict[bytes, bytes]) -> None:
    guard_media(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b"text/json"},
        {b"content-type": b"application/jsonp"},
        {b"content-type": b"application/json;charset=utf-16"},
        {b"content-type": b"application/json", b"content-encoding": b"gzip"},
        {b"content-type": b"application/json", b"content-encoding": b"br, identity"},
    ],
)
def test_anything_else_is_not(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(UnsupportedMediaType):
        guard_media(headers)
