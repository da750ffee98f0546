"""What can go wrong when the service is called; one class for each thing a caller can do about it.

TallystickError
├── ApiError             the service refused; nothing was done unless `detail` says otherwise
│   ├── InvalidRequest       400, 413, 415, 422: the request is wrong; `errors` say where
│   ├── Unauthorized         401: the API key is missing, unknown, expired or revoked
│   ├── InsufficientCredits  402: `required` and `available`
│   ├── Forbidden            403: the key's scope does not allow it
│   ├── NotFound             404: no such thing, or not yours
│   ├── Conflict             409, 412: `state` and what is `allowed` from it
│   ├── LimitReached         429: try again after `retry_after` seconds
│   └── Unavailable          502, 503, 504: the service is not ready; `retry_after` where it says
├── Unreachable          no answer came, or none that can be read
├── WaitTimeout          the task did not end in time; `task` is its last state
├── GroupWaitTimeout     the group did not end in time; `group` is its last state
└── InvalidArgument      the call itself is wrong (a `ValueError`); nothing was sent
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from tallystick.models import Group, Money, Task


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a request: where and what (a sentence).

    `pointer` is a JSON pointer into the body; `parameter` or `header` name what is not in it.
    """

    pointer: str = ""
    detail: str = ""
    parameter: str = ""
    header: str = ""

    @property
    def where(self) -> str:
        """Whichever of them it is; empty for the request as a whole."""
        return self.pointer or self.parameter or self.header

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}" if self.where else self.detail


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an error, RFC 9457; members that the service did not send are empty."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    code: str = ""
    errors: tuple[FieldError, ...] = ()
    trace_id: str | None = None
    required: int | None = None
    available: int | None = None
    state: str | None = None
    allowed: tuple[str, ...] = ()
    money: Money | None = None


class TallystickError(Exception):
    """Root of the tree."""


class ApiError(TallystickError):
    """`code` is stable and names the reason; `retry_after` is in seconds, None where not told."""

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        sentence = problem.detail or problem.title or f"The service answered {problem.status}."
        super().__init__(sentence)
        self.problem = problem
        self.code = problem.code
        self.status = problem.status
        self.detail = sentence
        self.errors = problem.errors
        self.trace_id = problem.trace_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = "; ".join(map(str, self.errors))
        return f"{self.detail} ({where})" if where else self.detail


class InvalidRequest(ApiError):
    """The request itself is wrong: sending it again will not help."""


class Unauthorized(ApiError):
    """The API key is missing, unknown, expired or revoked."""


class InsufficientCredits(ApiError):
    """The account's available credits do not cover the price."""

    @property
    def required(self) -> int | None:
        return self.problem.required

    @property
    def available(self) -> int | None:
        return self.problem.available


class Forbidden(ApiError):
    """The API key is good, but its scope does not reach this."""


class NotFound(ApiError):
    """There is no such thing, or it belongs to another account."""


class Conflict(ApiError):
    """The thing is in a state that does not allow it, or has changed meanwhile."""

    @property
    def state(self) -> str | None:
        return self.problem.state

    @property
    def allowed(self) -> tuple[str, ...]:
        return self.problem.allowed

    @property
    def money(self) -> Money | None:
        """What has become of the task's credits."""
        return self.problem.money


class LimitReached(ApiError):
    """A limit of the account's plan, or the rate limit, is used up."""


class Unavailable(ApiError):
    """The service is there but not ready, such as during a restart of its database."""


class Unreachable(TallystickError):
    """No answer came: wrong address, network trouble, a time limit, or something else listens.

    `transient`: the same call may succeed later.
    """

    def __init__(self, detail: str, *, transient: bool) -> None:
        super().__init__(detail)
        self.transient = transient


class WaitTimeout(TallystickError):
    """The task goes on; only the waiting ended. `task` is its last known state."""

    def __init__(self, task: Task, seconds: float) -> None:
        super().__init__(f"Task {task.id} is still {task.status} after {seconds:g} s.")
        self.task = task
        self.seconds = seconds


class GroupWaitTimeout(TallystickError):
    """The group goes on; only the waiting ended. `group` is its last known state."""

    def __init__(self, group: Group, seconds: float) -> None:
        super().__init__(f"Group {group.id} is still {group.status} after {seconds:g} s.")
        self.group = group
        self.seconds = seconds


class InvalidArgument(TallystickError, ValueError):
    """What was given to the client cannot be sent: an address, a key, an id, a time or an input."""


_BY_STATUS: Mapping[int, type[ApiError]] = MappingProxyType(
    {
        400: InvalidRequest,
        401: Unauthorized,
        402: InsufficientCredits,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        412: Conflict,
        413: InvalidRequest,
        415: InvalidRequest,
        422: InvalidRequest,
        429: LimitReached,
        502: Unavailable,
        503: Unavailable,
        504: Unavailable,
    }
)


def error_of(status: int, body: bytes, retry_after: float | None = None) -> ApiError:
    """The typed error of an answer with `status` >= 400, whatever its body holds."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, UnicodeError):
        problem = Problem(title=f"The service answered {status} without saying why.")
    problem = msgspec.structs.replace(problem, status=status)
    return _BY_STATUS.get(status, ApiError)(problem, retry_after=retry_after)
