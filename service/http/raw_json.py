"""JSON bodies are judged as bytes, before any decoder: depth, encoding, and what no store holds.

Decoders recurse (nesting), let integers pass that PostgreSQL refuses, and skip over documents that
are kept as they came. What passes here is storable. Of equal names in one object the last counts,
for everyone who reads it.
"""

from __future__ import annotations

import math
import re

from domain.cleaning import NUMBER_MAX
from service.http.refusals import MalformedRequest

# Possessive, and matching a string without an end too: so no body takes more than linear time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_STRING_OR_NUMBER = re.compile(rb"(" + _STRING.pattern + rb")|" + _NUMBER.pattern, re.DOTALL)
# A pair of surrogates, or what must not be (group 1), or any other escape.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)
# Where neither occurs, no number can be out of range.
_DOUBTFUL_NUMBER = re.compile(rb"\d{19}|\d[eE]\+?\d")
_DIGITS_MAX = 400
"""Longer numbers are refused unread: converting digits takes time that grows with their square."""


def guard_json(body: bytes, depth_max: int) -> None:
    """Raise `MalformedRequest` for what must not reach a decoder or the database."""
    guard_depth(body, depth_max)
    _guard_text(body)
    if _DOUBTFUL_NUMBER.search(body):
        _guard_numbers(body)


def guard_depth(body: bytes, depth_max: int) -> None:
    """Nesting, counted without recursion. Brackets inside of strings do not count."""
    if body.count(b"{") + body.count(b"[") <= depth_max:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > depth_max:
            raise MalformedRequest(f"The JSON is nested deeper than {depth_max} levels.")


def mended_json(body: bytes, depth_max: int) -> bytes:
    """A body with data of third parties, rid of what must not reach a decoder.

    Bytes that are no UTF-8, NULs and lone surrogates go; numbers out of range become null. Raises
    `MalformedRequest` for the depth.
    """
    guard_depth(body, depth_max)
    body = body.decode(errors="ignore").encode()
    if b"\\u" in body:
        body = _ESCAPE.sub(_without_unstorable, body)
    if _DOUBTFUL_NUMBER.search(body):
        body = _STRING_OR_NUMBER.sub(_without_unbounded, body)
    return body


def _without_unstorable(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else b""


def _without_unbounded(token: re.Match[bytes]) -> bytes:
    if token[1] is not None:
        return token[0]
    number = _NUMBER.fullmatch(token[0])
    return token[0] if number is not None and _is_storable(number) else b"null"


def _guard_text(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        message = f"The body is not valid UTF-8 (byte {error.start})."
        raise MalformedRequest(message) from error
    if b"\0" in body:
        raise MalformedRequest("The body holds a NUL character.")
    if b"\\u" in body:
        for escape in _ESCAPE.finditer(body):
            if escape[1] is not None:
                raise MalformedRequest("The body holds \\u0000 or half of a \\u surrogate pair.")


def _guard_numbers(body: bytes) -> None:
    for number in _NUMBER.finditer(_STRING.sub(b'""', body)):
        if not _is_storable(number):
            raise MalformedRequest(
                "The body holds a number of more than 63 bits, or no finite one."
            )


def _is_storable(number: re.Match[bytes]) -> bool:
    if len(number[0]) > _DIGITS_MAX:
        return False
    if number[1] is None and number[2] is None:
        return -NUMBER_MAX <= int(number[0]) <= NUMBER_MAX
    return math.isfinite(float(number[0]))
