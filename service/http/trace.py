"""W3C trace context: taken from the request's `traceparent`, or begun here."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NOTHING = frozenset({b"0" * 32, b"0" * 16})


class Trace(NamedTuple):
    """Ids in lower-case hex: 32 digits of the trace, 16 of our own span; two of flags."""

    trace_id: str
    span_id: str
    flags: str

    @property
    def parent(self) -> bytes:
        """The `traceparent` by which others join this trace."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}".encode()


def trace_of(traceparent: bytes | None) -> Trace:
    """Our span in the caller's trace; in a new one where the header is missing or malformed."""
    random = secrets.token_hex(24)  # asked for once: each time is a call of the system
    form = _FORM.fullmatch(traceparent) if traceparent else None
    if form is None or not _is_valid(form):
        return Trace(random[16:], random[:16], "01")
    return Trace(form[2].decode(), random[:16], form[4].decode())


def _is_valid(form: re.Match[bytes]) -> bool:
    """Version ff is forbidden, version 00 has no fifth part, and no id is all zeros."""
    if form[1] == b"ff" or (form[1] == b"00" and form[5]):
        return False
    return form[2] not in _NOTHING and form[3] not in _NOTHING
