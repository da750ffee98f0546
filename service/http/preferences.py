"""Conditions and preferences that come in headers: `Prefer`, `If-Match`, `If-None-Match`."""

from __future__ import annotations

import re

from service.http.refusals import InvalidHeader

_WAIT = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
_TAG = re.compile(rb'\s*(W/)?"([^"]*)"\s*')
_VERSION = re.compile(rb"v([1-9]\d{0,18})")


def wait_seconds(prefer: bytes | None, seconds_max: int) -> int:
    """Seconds of `Prefer: wait=N`, cut to `seconds_max`; 0 without it.

    A preference that cannot be read is none (RFC 7240).
    """
    found = _WAIT.search(prefer) if prefer else None
    return min(int(found[1]), seconds_max) if found else 0


def matches(if_none_match: bytes | None, tag: bytes) -> bool:
    """Whether `If-None-Match` names `tag`, by the weak comparison it asks for."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == b"*":
        return True
    return any(b'"' + tag_[2] + b'"' == tag for tag_ in _TAG.finditer(if_none_match))


def expected_versions(if_match: bytes | None) -> frozenset[int] | None:
    """Versions that `If-Match` allows; None when it allows any. Raises `InvalidHeader`.

    A tag that is weak, or none of ours, allows no version: the comparison is a strong one.
    """
    if if_match is None or if_match.strip() == b"*":
        return None
    versions = set()
    for piece in if_match.split(b","):
        tag = _TAG.fullmatch(piece)
        if tag is None:
            reason = 'has to be entity tags like "v17", or *'
            raise InvalidHeader("If-Match cannot be read.", ("If-Match", reason))
        version = _VERSION.fullmatch(tag[2])
        if version is not None and tag[1] is None:
            versions.add(int(version[1]))
    return frozenset(versions)
