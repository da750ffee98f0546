"""What a handler may do at its worst: report, return or raise whatever Python can make."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from msgspec import Raw

from tallystick.handler import TaskFailure

words = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["", "\x00", "a\x00b", "\ud800", "\udfff\ud800", "\x1b[31m", "\r\n", "x" * 300, "x" * 1_000_000]
)


class Loud(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Base(BaseException):
    """Not an `Exception`: `except Exception` lets it pass."""


class Chatty(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(int):
    def __le__(self, _: object) -> bool:
        raise RuntimeError("no order")

    __ge__ = __lt__ = __gt__ = __le__


class Torn(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")

    __iter__ = items


class Colour(enum.Enum):
    RED = "red\x00"
    NOTHING = object()


@dataclass
class Holder:
    value: Any


class Elsewhere(msgspec.Struct, frozen=True):
    """A result of another type."""

    value: Any = None


class Barred(msgspec.Struct):
    """Decodes to nothing: its own check refuses it."""

    value: Any = None

    def __post_init__(self) -> None:
        if self.value == "barred":
            raise ZeroDivisionError


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def cyclic() -> list[Any]:
    ring: list[Any] = []
    ring.append({"ring": ring})
    return ring


def chained(length: int) -> Exception:
    """Each was raised because of the next."""
    first = last = ValueError("first")
    for _ in range(length):
        cause = ValueError("because")
        last.__cause__ = cause
        last = cause
    return first


def ringed() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def grouped(depth: int) -> BaseException:
    inner: BaseException = Base("innermost")
    for _ in range(depth):
        inner = BaseExceptionGroup("group\x00", [inner])
    return inner


numbers = st.sampled_from(
    [2**63, -(2**63), 2**70, -(2**70), 10**400, float("nan"), float("inf"), -float("inf"), 1e308]
)
times = st.sampled_from(
    [
        datetime.min,  # noqa: DTZ901 - without a zone
        datetime.max.replace(tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, tzinfo=timezone(timedelta(hours=-14, seconds=1))),
        date.min,
        time.max,
        timedelta.max,
        timedelta.min,
    ]
)
oddities = st.sampled_from(
    [
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("1e999999"),
        UUID(int=0),
        b"\x00\xff",
        bytearray(b"\xff"),
        memoryview(b"\xff"),
        Chatty("a\x00"),
        Odd(7),
        Colour.RED,
        Colour.NOTHING,
        Holder(Holder(object())),
        Holder("\ud800"),
        Elsewhere("\x00"),
        Barred("barre"),
        Raw(b"{"),
        Raw(b'{"a": 1e999, "b": "\\ud800\\u0000"}'),
        Raw(b"\xff"),
        Ellipsis,
        object(),
        int,
        print,
        1j,
        range(3),
        {1, "a", b"b"},
        frozenset({("a", 1)}),
        (),
        msgspec.UNSET,
        msgspec.NODEFAULT,
    ]
) | st.builds(Torn, a=st.just(1))
huge = st.sampled_from(
    [
        "x" * 2_000_000,
        ["\x00" * 2_000] * 2_000,
        {str(n): n for n in range(20_000)},
        list(range(30_000)),
        nested(31),
        nested(33),
        nested(900),
        nested(50_000),
        cyclic(),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | numbers
keys = words | st.integers() | st.none() | st.tuples(st.integers()) | times | st.just(b"\xff")
leaves = scalars | times | oddities
values = huge | st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Elsewhere, inner)
    ),
    max_leaves=12,
)
"""What stands in a result."""

Kind = type[BaseException]
KINDS: list[Kind] = [
    ValueError,
    KeyError,
    OSError,
    TimeoutError,
    RecursionError,
    MemoryError,
    StopIteration,
    StopAsyncIteration,
    GeneratorExit,
    SystemExit,
    KeyboardInterrupt,
    asyncio.CancelledError,
    asyncio.InvalidStateError,
    Base,
    Loud,
    AssertionError,
    AttributeError,
]
kinds: st.SearchStrategy[Kind] = st.sampled_from(KINDS)
plain_errors = st.builds(lambda kind, said: kind(said), kinds, words | numbers | oddities)
stated: st.SearchStrategy[BaseException] = st.builds(
    lambda type_, message, retryable, seconds: TaskFailure(
        type_, message, retryable=retryable, retry_after_seconds=seconds
    ),
    st.sampled_from(["network", "storage", "no such type", "", None, 7, ["network"]]),
    words | st.none() | st.integers() | st.just(b"\xff") | st.just(Loud()),
    st.sampled_from([None, True, False, "yes", 7, float("nan")]),
    st.none() | numbers | st.integers() | st.just("soon") | st.just(timedelta(1)),
)
makers: list[Callable[[], BaseException]] = [
    ringed,
    lambda: Loud("\x00"),
    lambda: chained(2_000),
    lambda: grouped(10),
    lambda: grouped(2_000),
]
awkward = st.sampled_from(makers).map(lambda make: make())
errors = plain_errors | stated | awkward

percents = st.integers() | numbers | st.floats() | st.none() | st.just("half") | st.just(Odd(7))
messages = words | st.none() | st.integers() | st.just(b"\xff") | st.just(Chatty("a\x00"))
amounts = st.none() | st.integers() | numbers | st.floats() | words | st.booleans()


class Report(msgspec.Struct, frozen=True):
    """What the handler says on its way."""

    percent: Any
    message: Any
    completed: Any
    total: Any


class Act(msgspec.Struct, frozen=True):
    """Reports, comes to a stage, and then returns `value`, or raises `error`."""

    reports: tuple[Report, ...]
    stage: Any
    error: BaseException | None
    value: Any


reports = st.builds(Report, percents, messages, amounts, amounts)
stages: st.SearchStrategy[Any] = st.sampled_from([None, None, "half", "\x00", [], Loud()])
acts = st.builds(
    Act,
    st.lists(reports, max_size=3).map(tuple),
    stages,
    st.none() | errors,
    values,
)
