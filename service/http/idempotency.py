"""`Idempotency-Key`: one effect and one answer, kept in the transaction of its events."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import KeyInFlight
from service.http.refusals import InvalidHeader

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-\[\]-~]+")
_KEY_LENGTH_MAX = 255


def idempotency_key(header: bytes | None) -> str | None:
    """The key, quoted or bare, 1 to 255 characters; None without one. Raises `InvalidHeader`."""
    if header is None:
        return None
    text = header.decode("latin-1").strip()
    if (quoted := _QUOTED.fullmatch(text)) is not None:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        key = ""
    if not 0 < len(key) <= _KEY_LENGTH_MAX:
        reason = f"has to be 1 to {_KEY_LENGTH_MAX} printable ASCII characters, quoted or bare"
        raise InvalidHeader("Idempotency-Key cannot be read.", ("Idempotency-Key", reason))
    return key


def scoped(principal: bytes, method: str, path: str, key: str) -> bytes:
    """Digest that tells this request's key from the same word of others, or on other routes."""
    parts = (principal, method.encode(), path.encode(), key.encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def fingerprint_of(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


class InFlight:
    """Keys whose first request is under way in this process."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    @contextmanager
    def only(self, key: bytes) -> Iterator[None]:
        """Raise `KeyInFlight` while another request has the key.

        Another process's request is met in the database instead: there the second is given the
        first one's answer.
        """
        if key in self._keys:
            raise KeyInFlight
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)
