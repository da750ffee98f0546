"""What an exception counts as: its class and HTTP status are asked first, its words last."""

from __future__ import annotations

import errno
import re

from domain.failure import FailureType

CAUSES_MAX = 10
"""How many exceptions of a chain of causes, or of a group, are looked at."""
_TEXT_LENGTH_MAX = 2_000

# Our own mistakes: trying again does not help.
_BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
)
# Reported as a plain OSError, unlike a connection that is refused or reset.
_NETWORK_ERRNOS = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
    }
)
# Names of classes in libraries that are not imported here, looked for in the whole ancestry.
_BY_NAME: tuple[tuple[FailureType, re.Pattern[str]], ...] = (
    ("timeout", re.compile(r"Time(d)?out", re.IGNORECASE)),
    ("rate_limited", re.compile(r"RateLimit|TooManyRequests|Throttl", re.IGNORECASE)),
    (
        "network",
        re.compile(
            r"Connect(ion)?Error|TransportError|NetworkError|ProtocolError|SSLError|gaierror"
            r"|ConnectionClosed"
        ),
    ),
)
_STORAGE_LIBRARIES = frozenset({"obstore"})
_BY_TEXT: tuple[tuple[FailureType, re.Pattern[str]], ...] = (
    (
        "rate_limited",
        re.compile(
            r"rate.?limit|too many requests|quota exceeded|throttl|overloaded"
            r"|限流|请求过多|请求频繁|频率限制|配额|繁忙",
            re.IGNORECASE,
        ),
    ),
    ("timeout", re.compile(r"timed?.?out|deadline exceeded|超时", re.IGNORECASE)),
    (
        "network",
        re.compile(
            r"connection (refused|reset|aborted|closed)|connect call failed|unreachable"
            r"|name resolution|(?<![a-z])dns(?![a-z])|broken pipe|bad gateway|service unavailable"
            r"|网络|连接(失败|中断|被拒绝|被重置)|无法连接",
            re.IGNORECASE,
        ),
    ),
    (
        "storage",
        re.compile(
            r"no space left|disk (is )?full|bucket|upload failed"
            r"|存储|磁盘(空间)?(不足|已满)|上传失败",
            re.IGNORECASE,
        ),
    ),
    (
        "param_error",
        re.compile(
            r"invalid (input|parameter|argument|request|url)|bad request|unsupported|malformed"
            r"|content policy|(?<!case.)(?<![a-z])sensitive"
            r"|参数(错误|无效)|不支持|格式错误|敏感|违规|审核",
            re.IGNORECASE,
        ),
    ),
    (
        "model_error",
        re.compile(
            r"model (error|failed|not found)|inference|generation failed|cuda"
            r"|模型|生成失败|推理失败",
            re.IGNORECASE,
        ),
    ),
)
_BY_STATUS: dict[int, FailureType] = {
    401: "internal",
    403: "internal",
    407: "internal",
    408: "timeout",
    425: "network",
    429: "rate_limited",
    502: "network",
    503: "network",
    504: "timeout",
    507: "storage",
}


def classify(error: BaseException) -> FailureType:
    """Failure type of an exception or, where it says nothing, of what caused it. Never raises.

    A class or an HTTP status anywhere in the chain goes before any words; a bug goes before
    everything where it is the exception itself, and last where something was raised because of it.
    """
    if isinstance(error, _BUGS):
        return "internal"
    chain = _chain(error)
    for one in chain:
        if (found := _by_class(one) or _by_status(one) or _by_errno(one)) is not None:
            return found
    for one in chain:
        if (found := classify_text(_said(one))) is not None:
            return found
    return "internal" if any(isinstance(one, _BUGS) for one in chain) else "unknown"


def classify_text(text: str) -> FailureType | None:
    """Failure type of a sentence in English or Chinese; None when it says nothing known."""
    for failure_type, pattern in _BY_TEXT:
        if pattern.search(text[:_TEXT_LENGTH_MAX]):
            return failure_type
    return None


def classify_status(status: int) -> FailureType | None:
    """Failure type of an HTTP status; None when it is no error."""
    if found := _BY_STATUS.get(status):
        return found
    if 400 <= status < 500:  # noqa: PLR2004
        return "param_error"
    return "model_error" if 500 <= status < 600 else None  # noqa: PLR2004


def _chain(error: BaseException) -> list[BaseException]:
    """The exception, then what is behind it, the nearest first."""
    chain = [error]
    for one in chain:  # which grows meanwhile
        for cause in _causes(one):
            if len(chain) < CAUSES_MAX and not any(cause is known for known in chain):
                chain.append(cause)
    return chain


def _causes(error: BaseException) -> tuple[BaseException, ...]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return (*members, cause) if cause is not None else tuple(members)


def _by_class(error: BaseException) -> FailureType | None:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionError):
        return "network"
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    for failure_type, pattern in _BY_NAME:
        if pattern.search(names):
            return failure_type
    libraries = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return "storage" if libraries & _STORAGE_LIBRARIES else None


def _by_status(error: BaseException) -> FailureType | None:
    """Of an error that carries a status itself (`status_code`, `status`) or in its `response`."""
    for carrier in (error, _attribute(error, "response")):
        for name in ("status_code", "status"):
            status = _attribute(carrier, name)
            if isinstance(status, int) and (found := classify_status(status)) is not None:
                return found
    return None


def _by_errno(error: BaseException) -> FailureType | None:
    """Of an error of the operating system; one without a number is another library's own."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    return "network" if error.errno in _NETWORK_ERRNOS else "storage"


def _attribute(carrier: object, name: str) -> object:
    """None too where a property of somebody's exception fails in its turn."""
    try:
        return getattr(carrier, name, None)
    except Exception:  # noqa: BLE001 - it may raise anything
        return None


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it may raise anything
        return ""
