"""Cursors of lists: opaque, signed, good for one owner, list and filter only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from service.http.refusals import InvalidCursor

PURPOSE = "cursors"
_SIGNATURE_BYTES = 16


class Cursors:
    """Seals where a page ended; the secret is shared by all processes of an installation."""

    def __init__(self) -> None:
        self._secret: bytes | None = None

    def use(self, secret: bytes) -> None:
        """Sign with this secret from now on; comes before any request."""
        self._secret = secret

    def seal(self, position: bytes, owner: bytes, listing: bytes) -> str:
        """`listing` stands for the route and its filter; `position` is the last item's sort key."""
        sealed = self._sign(position, owner, listing) + position
        return _text(sealed)

    def open(self, cursor: str, owner: bytes, listing: bytes) -> bytes:
        """The position. Raises `InvalidCursor` for any other owner, list or filter."""
        try:
            padding = "=" * (-len(cursor) % 4)
            sealed = base64.b64decode(cursor + padding, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidCursor from error
        if _text(sealed) != cursor:
            # The last letter has bits to spare: only one spelling of a cursor is good.
            raise InvalidCursor
        signature, position = sealed[:_SIGNATURE_BYTES], sealed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(position, owner, listing)):
            raise InvalidCursor
        return position

    def _sign(self, position: bytes, owner: bytes, listing: bytes) -> bytes:
        assert self._secret is not None, "use() comes first"
        digest = hashlib.sha256
        # Each part by its digest, so that no two triples run together to the same bytes.
        parts = b"".join(digest(part).digest() for part in (owner, listing, position))
        return hmac.digest(self._secret, parts, digest)[:_SIGNATURE_BYTES]


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
