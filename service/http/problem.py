"""Every error leaves as RFC 9457 `application/problem+json`, whoever raised it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from litestar.exceptions import HTTPException
from msgspec import UNSET, Meta, UnsetType

from adapters.committer import OutcomeUnknown
from domain.errors import (
    AccountUnsettled,
    HoldSettled,
    IllegalTransition,
    InsufficientCredits,
    InvalidInput,
    KeyInFlight,
    LimitReached,
    ReferenceReused,
    RefundExceedsCapture,
    StorageFull,
    TallystickError,
    UnknownTaskType,
    VersionMismatch,
)
from domain.money import Money
from service.http.answer import PROBLEM_JSON, Answer, Headers, etag
from service.http.rate_limit import quota_headers, quota_reached
from service.http.refusals import (
    BodyTooLarge,
    InvalidHeader,
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    NoRoute,
    NotReady,
    RequestTimedOut,
    TooManyStreams,
    Unauthenticated,
)
from service.http.trace import Trace
from service.problems import PROBLEMS, ProblemType, problem_of

RETRY_SECONDS = 1
"""What `Retry-After` says where nothing better is known: a transient fault, a key in flight."""


class FieldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing wrong: `pointer` into the body (RFC 6901), or a `parameter` or `header` by name."""

    detail: str
    pointer: str | UnsetType = UNSET
    parameter: str | UnsetType = UNSET
    header: str | UnsetType = UNSET


class CreditsMoved(msgspec.Struct, frozen=True, kw_only=True):
    """What the failed request charged and gave back: nothing, or null where that is not known."""

    charged: int | None = 0
    released: int | None = 0


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Members after `credits` are there where the problem's type has them."""

    type: Annotated[str, Meta(description="Reference to its page in these documents.")]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="Path of the request.")]
    code: Annotated[str, Meta(description="Stable name of the type.")]
    trace_id: str
    credits: CreditsMoved = CreditsMoved()
    errors: list[FieldError] | UnsetType = UNSET
    required: int | UnsetType = UNSET
    available: int | UnsetType = UNSET
    state: str | UnsetType = UNSET
    allowed: tuple[str, ...] | UnsetType = UNSET
    money: Money | UnsetType = UNSET
    refundable: int | UnsetType = UNSET
    holds: int | UnsetType = UNSET
    limit: str | UnsetType = UNSET
    maximum: int | UnsetType = UNSET
    stored_bytes: int | UnsetType = UNSET
    stored_bytes_max: int | UnsetType = UNSET
    expected: int | UnsetType = UNSET
    actual: int | UnsetType = UNSET
    checks: dict[str, msgspec.Raw] | UnsetType = UNSET


def problem_uri(entry: ProblemType) -> str:
    return f"/problems/{entry.code}"


def problem_answer(error: BaseException, path: str, trace: Trace) -> Answer:
    """The answer to a request that raised `error`; what is not ours is told as `internal`."""
    entry = problem_of(error) if isinstance(error, TallystickError) else PROBLEMS["internal"]
    problem = _explained(
        error,
        Problem(
            type=problem_uri(entry),
            title=entry.title,
            status=entry.status,
            detail=_detail(error, entry),
            instance=path,
            code=entry.code,
            trace_id=trace.trace_id,
        ),
    )
    return Answer(entry.status, msgspec.json.encode(problem), _headers(error), PROBLEM_JSON)


def as_ours(error: BaseException) -> BaseException:
    """Litestar's own refusals (routing, the Host header) as ours."""
    if not isinstance(error, HTTPException):
        return error
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NoRoute("There is nothing at this path.")
    if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return MalformedRequest(error.detail)
    return error


def _detail(error: BaseException, entry: ProblemType) -> str:
    """What happened; nothing of the insides where the fault is ours."""
    if entry.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotReady):
        return _OUR_FAULT.get(entry.code, entry.help.partition(". ")[0].rstrip(".") + ".")
    return str(error)


_OUR_FAULT = {
    "unavailable": "The database cannot be reached at the moment; nothing was written.",
    "internal": "Something went wrong on our side.",
}


_MEMBERS: Mapping[type[TallystickError], tuple[str, ...]] = MappingProxyType(
    {
        InsufficientCredits: ("required", "available"),
        IllegalTransition: ("state", "allowed", "money"),
        HoldSettled: ("state",),
        RefundExceedsCapture: ("refundable",),
        AccountUnsettled: ("holds", "available"),
        LimitReached: ("limit", "maximum"),
        StorageFull: ("stored_bytes", "stored_bytes_max"),
        TooManyStreams: ("limit", "maximum"),
        VersionMismatch: ("expected", "actual"),
        NotReady: ("checks",),
    }
)


def _explained(error: BaseException, problem: Problem) -> Problem:
    """The members that the error's own type adds."""
    members: dict[str, Any] = {}
    if isinstance(error, TallystickError):
        named = {name: getattr(error, name) for name in _MEMBERS.get(type(error), ())}
        members = {name: value for name, value in named.items() if value is not None}
    if isinstance(error, InvalidInput):
        members["errors"] = [_field_error(error, where, what) for where, what in error.errors]
    elif isinstance(error, ReferenceReused):
        first = msgspec.to_builtins(error.first)
        members["errors"] = [
            FieldError(pointer=f"/{name}", detail=f"was {_shown(value)}")
            for name, value in first.items()
        ]
    elif isinstance(error, UnknownTaskType):
        members["errors"] = [FieldError(detail=str(error), pointer="/type")]
    elif isinstance(error, OutcomeUnknown):
        members["credits"] = CreditsMoved(charged=None, released=None)
    return msgspec.structs.replace(problem, **members) if members else problem


def _shown(value: object) -> str:
    return "not given" if value is None else str(value)


def _field_error(error: InvalidInput, where: str, what: str) -> FieldError:
    if isinstance(error, InvalidParameter):
        return FieldError(detail=what, parameter=where)
    if isinstance(error, InvalidHeader):
        return FieldError(detail=what, header=where)
    return FieldError(detail=what, pointer=where)


def _headers(error: BaseException) -> Headers:
    headers: Headers = [(b"cache-control", b"no-store")]
    match error:
        case LimitReached(retry_after_seconds=seconds):
            if seconds is not None:
                headers.append((b"retry-after", b"%d" % seconds))
            headers += quota_headers(quota_reached(error))
        case KeyInFlight() | TallystickError(transient=True) | NotReady():
            headers.append((b"retry-after", b"%d" % RETRY_SECONDS))
        case Unauthenticated(challenge=challenge):
            headers.append((b"www-authenticate", challenge))
        case MethodNotAllowed(allow=allow):
            headers.append((b"allow", allow.encode()))
        case VersionMismatch(actual=actual):
            headers.append((b"etag", etag(actual)))
        case RequestTimedOut() | BodyTooLarge():
            headers.append((b"connection", b"close"))
    return headers
