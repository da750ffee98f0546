"""What only HTTP can refuse: who asks, how the body comes, which route."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from domain.errors import InvalidInput, LimitReached, TallystickError


class HttpRefusal(TallystickError):
    """Nothing was done."""


class MalformedRequest(HttpRefusal):
    code = "malformed_request"


class InvalidCursor(HttpRefusal):
    code = "invalid_cursor"

    def __init__(self) -> None:
        super().__init__("The cursor is not one of ours for this list, filter and key.")


class Unauthenticated(HttpRefusal):
    """`challenge` is the value of `WWW-Authenticate`."""

    code = "unauthenticated"

    def __init__(self, detail: str, *, token_sent: bool) -> None:
        super().__init__(detail)
        self.challenge = b'Bearer realm="tallystick"' + (
            b', error="invalid_token"' if token_sent else b""
        )


class Forbidden(HttpRefusal):
    code = "forbidden"

    def __init__(self, scope: str, needed: Iterable[str]) -> None:
        super().__init__(f"This needs a key of scope {' or '.join(sorted(needed))}, not {scope}.")


class RequestTimedOut(HttpRefusal):
    code = "request_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The body did not arrive within {seconds:g} seconds.")


class BodyTooLarge(HttpRefusal):
    code = "body_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The body is larger than {bytes_max} bytes.")


class UnsupportedMediaType(HttpRefusal):
    code = "unsupported_media_type"


class NotReady(HttpRefusal):
    """A health check fails; `checks` (JSON values by name) are told with it."""

    code = "unavailable"

    def __init__(self, failing: Iterable[str], checks: dict[str, msgspec.Raw]) -> None:
        super().__init__(f"Not ready: {', '.join(failing)}.")
        self.checks = checks


class TooManyStreams(LimitReached):
    """The key has as many streams open in this process as it may."""

    code = "too_many_streams"


class NoRoute(HttpRefusal):
    code = "not_found"


class MethodNotAllowed(HttpRefusal):
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This path allows {allow}.")
        self.allow = allow


class InvalidParameter(InvalidInput):
    """`errors` holds (name, sentence) pairs of query parameters."""


class InvalidHeader(InvalidInput):
    """`errors` holds (name, sentence) pairs of headers."""


def of_query(error: InvalidInput) -> InvalidInput:
    """The refusal of a request without a body: what it names by pointers are parameters."""
    if type(error) is not InvalidInput:
        return error
    named = [(where.removeprefix("/"), what) for where, what in error.errors]
    return InvalidParameter(str(error), *named)
