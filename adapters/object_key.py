"""Objects get keys that every store, file system and URL takes, whatever a handler names them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

SEGMENTS_MAX = 8
SEGMENT_LENGTH_MAX = 100

_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]+")
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)


def object_key(name: str, *, below: Iterable[object] = ()) -> str:
    """Key of `name`, which may hold slashes, below the folders `below`, which are kept as they are.

    Letters lose their accents, other characters become `_`, empty and dotted segments vanish,
    long ones are cut, and what is nested too deep is drawn together. A segment that had to
    change ends in a digest of what it was, so that two names do not become one key.
    """
    segments = [segment for segment in name.split("/") if segment.strip(".")] or ["object"]
    if len(segments) > SEGMENTS_MAX:
        *folders, last = segments
        segments = [*folders[: SEGMENTS_MAX - 2], "/".join(folders[SEGMENTS_MAX - 2 :]), last]
    return "/".join([*map(str, below), *map(_clean_segment, segments)])


def is_object_key(key: str) -> bool:
    """Whether `key` is of the form that `object_key` makes."""
    return _KEY.fullmatch(key) is not None


def _clean_segment(segment: str) -> str:
    plain = unicodedata.normalize("NFKD", segment).encode("ascii", "ignore").decode()
    clean = _OTHER_CHARACTERS.sub("_", plain).lstrip(".-")[:SEGMENT_LENGTH_MAX]
    if clean == segment:
        return segment
    digest = hashlib.sha256(segment.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    path = PurePosixPath(clean or "object")
    stem = path.stem[: SEGMENT_LENGTH_MAX - 32]
    return f"{stem}-{digest}{path.suffix[:16]}"
