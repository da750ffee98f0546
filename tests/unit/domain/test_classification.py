"""What an exception counts as: class and HTTP status first, words in two languages last."""

from __future__ import annotations

import errno
import itertools
import json
import socket
import ssl
from email.message import Message
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, get_args
from urllib.error import HTTPError, URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.classification import CAUSES_MAX, classify, classify_status, classify_text
from domain.failure import FailureType

TYPES: tuple[FailureType, ...] = get_args(FailureType)


def library_error(
    *ancestry: str, module: str = "library", base: type[Exception] = Exception
) -> Any:
    """A class as a library that is not installed would have it: its name, then its ancestors'."""
    made: Any = base
    for name in reversed(ancestry):
        made = type(name, (made,), {"__module__": module})
    return made


def caused(*chain: Exception) -> Exception:
    """The first of them, raised from the second, and so on."""
    for error, cause in itertools.pairwise(chain):
        error.__cause__ = cause
    return chain[0]


def while_handling(*chain: Exception) -> Exception:
    """The same, where each was raised while the next was being handled."""
    for error, handled in itertools.pairwise(chain):
        error.__context__ = handled
    return chain[0]


BY_CLASS: list[tuple[BaseException, FailureType]] = [
    (TimeoutError(), "timeout"),
    (OSError(errno.ETIMEDOUT, "x"), "timeout"),
    (ConnectionResetError(), "network"),
    (ConnectionRefusedError(), "network"),
    (BrokenPipeError(), "network"),
    (OSError(errno.ECONNRESET, "x"), "network"),
    (OSError(errno.ENETUNREACH, "x"), "network"),
    (OSError(errno.EHOSTUNREACH, "x"), "network"),
    (socket.gaierror(socket.EAI_NONAME, "x"), "network"),
    (ssl.SSLError(1, "x"), "network"),
    (ssl.SSLCertVerificationError(1, "x"), "network"),
    (OSError(errno.ENOSPC, "x"), "storage"),
    (OSError(errno.EDQUOT, "x"), "storage"),
    (PermissionError(errno.EACCES, "x"), "storage"),
    (FileNotFoundError(errno.ENOENT, "x"), "storage"),
    (ZeroDivisionError(), "internal"),
    (AssertionError(), "internal"),
    (AttributeError(), "internal"),
    (ModuleNotFoundError(), "internal"),
    (KeyError("x"), "internal"),
    (IndexError(), "internal"),
    (MemoryError(), "internal"),
    (NameError(), "internal"),
    (UnboundLocalError(), "internal"),
    (NotImplementedError(), "internal"),
    (RecursionError(), "internal"),
    (TypeError(), "internal"),
    (Exception(), "unknown"),
    (RuntimeError("x"), "unknown"),
    (ValueError("x"), "unknown"),
    (json.JSONDecodeError("x", "", 0), "unknown"),
    (OSError(), "unknown"),
]
BY_NAME: list[tuple[tuple[str, ...], str, FailureType]] = [
    (("ConnectTimeout", "TimeoutException", "TransportError"), "httpx", "timeout"),
    (("ReadTimeout", "TimeoutException", "TransportError"), "httpx", "timeout"),
    (("PoolTimeout", "TimeoutException", "TransportError"), "httpx", "timeout"),
    (("ConnectError", "NetworkError", "TransportError"), "httpx", "network"),
    (("ReadError", "NetworkError", "TransportError"), "httpx", "network"),
    (("RemoteProtocolError", "ProtocolError", "TransportError"), "httpx", "network"),
    (("PoolTimeout", "OperationalError", "DatabaseError", "Error"), "psycopg_pool", "timeout"),
    (("ConnectionTimeout", "OperationalError", "Error"), "psycopg.errors", "timeout"),
    (("ClientConnectorError", "ClientOSError", "ClientConnectionError"), "aiohttp", "network"),
    (("ServerTimeoutError", "ServerConnectionError"), "aiohttp", "timeout"),
    (("EndpointConnectionError", "ConnectionError"), "botocore.exceptions", "network"),
    (("RateLimitError", "APIStatusError", "APIError"), "openai", "rate_limited"),
    (("APITimeoutError", "APIConnectionError", "APIError"), "openai", "timeout"),
    (("APIConnectionError", "APIError"), "openai", "network"),
    (("TooManyRequests", "ClientError"), "google.api_core.exceptions", "rate_limited"),
    (("ThrottlingException", "ClientError"), "botocore.errorfactory", "rate_limited"),
    (("ConnectionClosedError", "ConnectionClosed"), "websockets.exceptions", "network"),
    (("GenericError", "BaseError"), "obstore.exceptions", "storage"),
    (("PermissionDeniedError", "BaseError"), "obstore.exceptions", "storage"),
    (("UploadFailed", "GenericError", "BaseError"), "obstore", "storage"),
    (("GenericError", "BaseError"), "obstores", "unknown"),
]


@pytest.mark.parametrize(("error", "type_"), BY_CLASS, ids=lambda v: repr(v)[:40])
def test_an_exception_is_classified_by_its_class(error: BaseException, type_: str) -> None:
    assert classify(error) == type_


@pytest.mark.parametrize(("ancestry", "module", "type_"), BY_NAME)
def test_a_librarys_exception_is_classified_by_the_names_of_its_ancestry(
    ancestry: tuple[str, ...], module: str, type_: str
) -> None:
    assert classify(library_error(*ancestry, module=module)()) == type_


def test_a_name_says_nothing_from_outside_the_ancestry() -> None:
    """Neither the function or module around a class counts, nor what an instance is called."""

    class Timeouts:
        class Broken(Exception):
            name = "RateLimitError"

    assert classify(Timeouts.Broken()) == "unknown"
    assert classify(library_error("Broken", module="timeouts.ConnectError")()) == "unknown"


STATUSES: dict[int, FailureType] = {
    400: "param_error", 401: "internal", 402: "param_error", 403: "internal", 404: "param_error",
    405: "param_error", 406: "param_error", 407: "internal", 408: "timeout", 409: "param_error",
    410: "param_error", 413: "param_error", 415: "param_error", 422: "param_error",
    425: "network", 429: "rate_limited", 451: "param_error", 499: "param_error",
    500: "model_error", 501: "model_error", 502: "network", 503: "network", 504: "timeout",
    505: "model_error", 507: "storage", 529: "model_error", 599: "model_error",
}  # fmt: skip
NAMED = {401, 403, 407, 408, 425, 429, 502, 503, 504, 507}


@pytest.mark.parametrize(("status", "type_"), STATUSES.items())
def test_a_status_has_its_type(status: int, type_: str) -> None:
    assert classify_status(status) == type_


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_of_an_error_has_a_type(status: int) -> None:
    standard = "param_error" if status < 500 else "model_error"
    assert (classify_status(status) == standard) is (status not in NAMED)


@pytest.mark.parametrize("status", [-1, 0, 1, 100, 200, 204, 301, 304, 399, 600, 999, 2**70])
def test_other_statuses_are_no_errors(status: int) -> None:
    assert classify_status(status) is None


class Answered(Exception):
    """As httpx and requests: the status is the response's."""

    def __init__(self, status: object, words: str = "boom", name: str = "status_code") -> None:
        super().__init__(words)
        self.response = SimpleNamespace(**{name: status})


class Bearing(Exception):
    """As aiohttp and openai: the status is the error's own."""

    def __init__(self, status: object, words: str = "boom", name: str = "status_code") -> None:
        super().__init__(words)
        setattr(self, name, status)


@pytest.mark.parametrize("kind", [Answered, Bearing])
@pytest.mark.parametrize("name", ["status", "status_code"])
@pytest.mark.parametrize("status", [400, 429, 503, HTTPStatus.TOO_MANY_REQUESTS, 418])
def test_an_errors_status_is_found_where_clients_put_it(
    kind: Any,
    name: str,
    status: int,
) -> None:
    assert classify(kind(status, name=name)) == classify_status(status)


@pytest.mark.parametrize("status", [200, 302, None, "429", 429.0, True, object()])
def test_what_is_no_status_of_an_error_is_passed_over(status: object) -> None:
    assert classify(Bearing(status, "boom")) == "unknown"
    assert classify(Answered(status, "connection refused")) == "network"


@pytest.mark.parametrize(
    ("error", "type_"),
    [
        (HTTPError("http://x", 429, "slow down", Message(), None), "rate_limited"),
        (HTTPError("http://x", 503, "busy", Message(), None), "network"),
        (URLError(OSError("connection refused")), "network"),
        (URLError("something"), "unknown"),
        (library_error("HTTPError", "RequestException", base=OSError)("boom"), "unknown"),
    ],
)
def test_a_library_that_derives_from_oserror_is_not_taken_for_the_disk(
    error: Exception, type_: str
) -> None:
    assert classify(error) == type_


def test_a_status_goes_before_the_number_of_an_oserror() -> None:
    error = OSError(errno.EIO, "x")
    error.response = SimpleNamespace(status_code=429)  # type: ignore[attr-defined]
    assert classify(error) == "rate_limited"


SENTENCES: list[tuple[str, FailureType | None]] = [
    ("Rate limit reached for requests", "rate_limited"),
    ("rate-limited, slow down", "rate_limited"),
    ("429 Too Many Requests", "rate_limited"),
    ("You exceeded: QUOTA EXCEEDED", "rate_limited"),
    ("The request was throttled.", "rate_limited"),
    ("The model is overloaded, try later", "rate_limited"),
    ("请求过多", "rate_limited"),
    ("触发限流", "rate_limited"),
    ("请求频繁", "rate_limited"),
    ("超出频率限制", "rate_limited"),
    ("配额已用完", "rate_limited"),
    ("系统繁忙", "rate_limited"),
    ("Request timed out", "timeout"),
    ("time-out while reading", "timeout"),
    ("TIMEOUT", "timeout"),
    ("Deadline Exceeded", "timeout"),
    ("请求超时", "timeout"),
    ("connection refused", "network"),
    ("Connection reset by peer", "network"),
    ("Multiple exceptions: [Errno 111] Connect call failed ('10.0.0.9', 80)", "network"),
    ("Network is unreachable", "network"),
    ("Temporary failure in name resolution", "network"),
    ("DNS lookup gave nothing", "network"),
    ("DNS解析失败", "network"),
    ("502 Bad Gateway", "network"),
    ("Service Unavailable", "network"),
    ("网络异常", "network"),
    ("连接失败", "network"),
    ("连接被拒绝", "network"),
    ("无法连接到服务器", "network"),
    ("No space left on device", "storage"),
    ("the disk is full", "storage"),
    ("NoSuchBucket: the bucket is gone", "storage"),
    ("upload failed", "storage"),
    ("存储服务异常", "storage"),
    ("磁盘空间不足", "storage"),
    ("上传失败", "storage"),
    ("Invalid parameter: size", "param_error"),
    ("unsupported codec", "param_error"),
    ("malformed JSON", "param_error"),
    ("violates our content policy", "param_error"),
    ("may contain sensitive information", "param_error"),
    ("参数错误", "param_error"),
    ("参数无效", "param_error"),
    ("不支持的格式", "param_error"),
    ("格式错误", "param_error"),
    ("内容包含敏感词", "param_error"),
    ("内容违规", "param_error"),
    ("审核未通过", "param_error"),
    ("model error", "model_error"),
    ("inference went wrong", "model_error"),
    ("CUDA out of memory", "model_error"),
    ("模型异常", "model_error"),
    ("生成失败", "model_error"),
    ("推理失败", "model_error"),
    ("", None),
    ("Something else", None),
    ("names are case-sensitive", None),
    ("an insensitive match", None),
    ("未知错误", None),
]


@pytest.mark.parametrize(("text", "type_"), SENTENCES)
def test_a_sentence_is_classified_in_english_and_chinese(
    text: str, type_: FailureType | None
) -> None:
    assert classify_text(text) == type_
    assert classify(RuntimeError(text)) == (type_ or "unknown")


def test_every_type_that_words_can_tell_is_told_in_both_languages() -> None:
    told = {"rate_limited", "timeout", "network", "storage", "param_error", "model_error"}
    assert {type_ for text, type_ in SENTENCES if type_ and text.isascii()} == told
    assert {type_ for text, type_ in SENTENCES if type_ and not text.isascii()} == told


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    assert classify_text("x" * 1_980 + " timeout") == "timeout"
    assert classify_text("x" * 2_000 + " timeout") is None


@pytest.mark.parametrize(
    ("error", "type_"),
    [
        (TimeoutError("rate limit"), "timeout"),
        (ConnectionResetError("超时"), "network"),
        (TypeError("connection refused"), "internal"),
        (OSError(errno.ENOSPC, "connection refused"), "storage"),
        (Bearing(400, "rate limit"), "param_error"),
        (Answered(503, "参数错误"), "network"),
        (library_error("RateLimitError")("请求超时"), "rate_limited"),
    ],
    ids=str,
)
def test_class_and_status_go_before_words(error: Exception, type_: str) -> None:
    assert classify(error) == type_


class Wrapped(Exception):
    """Says nothing by its class."""


CHAINS: list[tuple[Exception, FailureType]] = [
    (caused(Wrapped("boom"), TimeoutError()), "timeout"),
    (while_handling(Wrapped("boom"), TimeoutError()), "timeout"),
    (caused(Wrapped("a"), Wrapped("b"), Bearing(429)), "rate_limited"),
    (caused(Wrapped("rate limit"), ConnectionResetError()), "network"),
    (caused(Bearing(429), TimeoutError()), "rate_limited"),
    (caused(Wrapped("boom"), Wrapped("参数错误")), "param_error"),
    (caused(Wrapped("timeout"), Wrapped("rate limit")), "timeout"),
    (caused(Wrapped("boom"), KeyError("x")), "internal"),
    (while_handling(Wrapped("boom"), KeyError("x")), "internal"),
    (while_handling(Wrapped("rate limit"), KeyError("x")), "rate_limited"),
    (caused(Wrapped("boom"), KeyError("x"), TimeoutError()), "timeout"),
    (while_handling(TypeError("boom"), TimeoutError()), "internal"),
    (ExceptionGroup("several", [Wrapped("boom"), TimeoutError()]), "timeout"),
    (ExceptionGroup("several", [ExceptionGroup("more", [Bearing(429)])]), "rate_limited"),
    (caused(Wrapped("boom"), ExceptionGroup("several", [Wrapped("请求超时")])), "timeout"),
    (ExceptionGroup("several", [KeyError("x")]), "internal"),
]


@pytest.mark.parametrize(("error", "type_"), CHAINS, ids=lambda v: str(v)[:30])
def test_what_says_nothing_itself_counts_as_what_is_behind_it(error: Exception, type_: str) -> None:
    assert classify(error) == type_


def test_a_context_that_was_put_aside_does_not_count() -> None:
    error = while_handling(Wrapped("boom"), TimeoutError())
    error.__suppress_context__ = True
    assert classify(error) == "unknown"


@pytest.mark.parametrize(
    ("length", "type_"), [(CAUSES_MAX, "timeout"), (CAUSES_MAX + 1, "unknown")]
)
def test_a_chain_is_followed_so_far(length: int, type_: str) -> None:
    wrappers = [Wrapped(str(number)) for number in range(length - 1)]
    assert classify(caused(*wrappers, TimeoutError())) == type_


def test_a_chain_in_a_circle_ends() -> None:
    one, other = Wrapped("one"), Wrapped("other")
    one.__cause__, other.__cause__ = other, one
    assert classify(one) == "unknown"


class Hostile(Exception):
    """Fails at whatever it is asked."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = Exception.__hash__

    @property
    def response(self) -> object:
        raise RuntimeError("no response")

    @property
    def status(self) -> int:
        raise ValueError("no status")


def test_an_exception_that_fails_itself_is_classified_all_the_same() -> None:
    assert classify(Hostile()) == "unknown"
    assert classify(caused(Hostile(), Hostile(), TimeoutError())) == "timeout"


@given(st.text(), st.sampled_from([Exception, ValueError, OSError, KeyError, TimeoutError]))
def test_any_words_have_a_type(text: str, kind: type[Exception]) -> None:
    assert classify(kind(text)) in TYPES
