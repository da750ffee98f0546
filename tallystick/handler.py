"""What a task type is made of: its schemas, price, limits and the function that does the work."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

FailureType = Literal[
    "model_error",
    "param_error",
    "timeout",
    "network",
    "stalled",
    "rate_limited",
    "storage",
    "internal",
    "unknown",
]


class TaskFailure(Exception):
    """Raised by a handler to end its attempt with a stated reason.

    `message` is shown to the user and must hold no internals; the cause (`raise … from`) is kept
    for operators.
    `retry_after_seconds` is what a remote service asked for, None when it asked for nothing.
    """

    def __init__(
        self,
        type: FailureType,  # noqa: A002 - the field's name
        message: str,
        *,
        retryable: bool | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.type: FailureType = type
        self.message = message
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class TaskCancelled(Exception):
    """Raised inside a handler when its task was cancelled, or its lease was lost; let it pass."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One object in object storage: its key, the URL or path to read it, its SHA-256 in hex."""

    key: str
    url: str
    size_bytes: int
    sha256: str


class Objects(Protocol):
    """Object storage as a handler sees it; keys are placed below the task's own folder."""

    async def put(
        self, name: str, source: Path | bytes | AsyncIterator[bytes], *, content_type: str
    ) -> Stored:
        """Stream `source` to storage under `name`. Raises `TaskFailure("storage", …)`."""
        ...


Report = Callable[[int, int | None], Awaitable[None]]
"""Told the bytes so far, and the total where it is known."""


class Fetch(Protocol):
    """Streamed, size-limited way to a file from outside: an SSRF-guarded download, or an upload."""

    async def __call__(
        self, url: str, target: Path, *, size_bytes_max: int, report: Report | None = None
    ) -> FetchedFile:
        """Download `url` to `target`, which must not exist; nothing is left of it on failure.

        `report` is awaited as bytes arrive. Raises `TaskFailure` of type param_error, network,
        rate_limited or storage.
        """
        ...

    async def upload(
        self, path: str, target: Path, *, size_bytes_max: int, report: Report | None = None
    ) -> FetchedFile:
        """Copy an uploaded file, named by its path in the uploads folder, to `target`; as above."""
        ...


class FetchedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a download brought: final URL, declared content type (None if none), size in bytes."""

    url: str
    content_type: str | None
    size_bytes: int


class Context(Protocol):
    """What a handler may know and do while it works on one attempt of one task."""

    task_id: UUID
    account_id: UUID
    attempt: int
    folder: Path
    """An empty scratch folder of this attempt, removed after it."""
    objects: Objects
    fetch: Fetch

    async def stage(self, name: str) -> None:
        """Record that a stage was reached, a fact in the log: one of the type's stages."""
        ...

    async def progress(
        self,
        percent: int,
        message: str = "",
        *,
        completed: int | None = None,
        total: int | None = None,
    ) -> None:
        """Report fine progress: light, coalesced, not a fact. Raises `TaskCancelled`."""
        ...


Input = TypeVar("Input", bound=msgspec.Struct)
Output = TypeVar("Output", bound=msgspec.Struct)
HandlerFunction = Callable[[Any, Any], Any]


RUN_SECONDS_MAX = 300
"""Time of a whole run, unless its type says otherwise."""
STAGE_PERCENTS = (1, 99)
NAME_LENGTH_MAX = 200
CacheScope = Literal["account", "everyone"]
Estimate = Callable[[Any], Mapping[str, "float | Decimal"]]
Measure = Callable[[Any, Any], Mapping[str, "float | Decimal"]]
_BOUNDS: dict[str, tuple[float, float]] = {
    "price_credits": (0, 2**53 - 1),
    "attempt_seconds_max": (1, 7 * 86_400),
    "running_tasks_max": (1, 2**31 - 1),
    "starts_per_minute_max": (1, 2**31 - 1),
    "attempts_max": (1, 100),
    "retry_seconds": (0.001, 86_400),
    "retry_seconds_max": (0.001, 86_400),
    "queue_seconds_max": (1, 366 * 86_400),
    "run_seconds_max": (1, 366 * 86_400),
    "cache_seconds": (1, 366 * 86_400),
    "cache_price_percent": (0, 100),
    "cache_version": (0, 2**31 - 1),
    "delivery_seconds_max": (1, 3_600),
}
ENDPOINT_LENGTH_MAX = 2_048
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class Provider(msgspec.Struct, frozen=True):
    """A third party that several task types may call, and what it bears, over all workers.

    At most `running_tasks_max` attempts run at one time, and at most `starts_per_minute_max` start
    within any minute, not all at once: nine tenths of it evenly, one tenth as a burst. After a
    failure of type `rate_limited` none starts until the time that the provider asked for.
    Raises `ValueError` for a name that is empty or too long, or a number out of its bounds.
    """

    name: str
    running_tasks_max: int | None = None
    starts_per_minute_max: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= NAME_LENGTH_MAX:
            message = f"a provider's name must have 1 to {NAME_LENGTH_MAX} characters"
            raise ValueError(message)
        for name in ("running_tasks_max", "starts_per_minute_max"):
            _refuse_unbounded(f"provider {self.name!r}", name, getattr(self, name), _BOUNDS[name])


def _refuse_unbounded(
    whose: str, name: str, number: float | None, bounds: tuple[float, float]
) -> None:
    low, high = bounds
    if number is not None and not low <= number <= high:
        message = f"{whose}: {name} must be {low} to {high}, not {number}"
        raise ValueError(message)


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """A registered task type and its function, or the `endpoint` that its tasks are pushed to.

    `price_credits` is held at submit, where no price list says otherwise. By `estimate(input)` the
    task type says before, and by `measure(input, result)` after, how much it is of each unit that a
    price list may price, such as `{"seconds": 12.5}`; both are quick and do no I/O. The estimate is
    held, and what was measured is charged, at most the hold.

    `stages` maps a stage to its percent (1-99);
    `attempt_seconds_max` bounds one attempt, `run_seconds_max` all attempts and the pauses between
    from the first start on, `queue_seconds_max` the wait for that start. At most `attempts_max`
    attempts follow each other after `retry_seconds`, doubled each time up to `retry_seconds_max`.
    At most `running_tasks_max` tasks of the type run at one time, over all workers; `provider` adds
    limits that it shares with other types. A function that is not a coroutine runs in a thread; an
    endpoint answers a delivery within `delivery_seconds_max`.

    With `cache_seconds` a task of the same `cache_key` takes over the result of one that completed
    so long ago at most, for `cache_price_percent` of the price, rounded down. `cache_key(input)` is
    the input itself unless given; None keeps this input out. `cache_scope` says whose results are
    taken. `cache_version` parts results of another version of the function; `cache_when(result)`
    is False for one that is not worth taking over.

    A type that `stores` keeps objects for its account, and is refused to one that stores as much as
    its plan lets it; one for the `operator` is refused to all accounts but those of operators.
    """

    name: str
    function: HandlerFunction | None
    input_type: type[msgspec.Struct]
    output_type: type[msgspec.Struct]
    price_credits: int
    stages: Mapping[str, int]
    attempt_seconds_max: int
    description: str
    running_tasks_max: int | None = None
    attempts_max: int = 3
    retry_seconds: float = 5.0
    retry_seconds_max: float = 300.0
    queue_seconds_max: int = 86_400
    run_seconds_max: int = RUN_SECONDS_MAX
    provider: Provider | None = None
    cache_seconds: int | None = None
    cache_key: Callable[[Any], str | None] | None = None
    cache_scope: CacheScope = "account"
    cache_price_percent: int = 100
    cache_version: int = 1
    cache_when: Callable[[Any], bool] | None = None
    endpoint: str | None = None
    delivery_seconds_max: int = 30
    estimate: Estimate | None = None
    measure: Measure | None = None
    stores: bool = False
    operator: bool = False

    def __post_init__(self) -> None:
        if (self.function is None) == (self.endpoint is None):
            raise ValueError(f"handler {self.name!r}: either a function or an endpoint")
        if self.endpoint is not None and not _is_endpoint(self.endpoint):
            raise ValueError(f"handler {self.name!r}: the endpoint must be an https URL")
        numbers = {name: getattr(self, name) for name in _BOUNDS if hasattr(self, name)}
        for stage, percent in self.stages.items():
            numbers[f"stage {stage!r}"] = percent
        for name, number in numbers.items():
            bounds = _BOUNDS.get(name, STAGE_PERCENTS)
            _refuse_unbounded(f"handler {self.name!r}", name, number, bounds)
        if self.cache_scope not in get_args(CacheScope):
            message = f"handler {self.name!r}: cache_scope must be account or everyone"
            raise ValueError(message)

    @property
    def cache_price_credits(self) -> int:
        """What a task costs that takes over a result, at the price that the type declares."""
        return self.cache_price_of(self.price_credits)

    def cache_price_of(self, credits_: int) -> int:
        """What is paid for a result that is taken over, of so much for the work itself."""
        return credits_ * self.cache_price_percent // 100

    @property
    def threaded(self) -> bool:
        return not inspect.iscoroutinefunction(self.function)


def _is_endpoint(url: str) -> bool:
    """Whether it is an https URL, or http on this machine's loopback, for development."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    plain = parts.scheme == "http" and host in _LOOPBACK_HOSTS
    return bool(host) and (parts.scheme == "https" or plain) and len(url) <= ENDPOINT_LENGTH_MAX


def handler(  # noqa: PLR0913 - each is a part of the declaration
    name: str,
    *,
    price_credits: int,
    stages: Mapping[str, int] | None = None,
    attempt_seconds_max: int = 300,
    running_tasks_max: int | None = None,
    attempts_max: int = 3,
    retry_seconds: float = 5.0,
    retry_seconds_max: float = 300.0,
    queue_seconds_max: int = 86_400,
    run_seconds_max: int | None = None,
    provider: Provider | None = None,
    cache_seconds: int | None = None,
    cache_key: Callable[[Any], str | None] | None = None,
    cache_scope: CacheScope = "account",
    cache_price_percent: int = 100,
    cache_version: int = 1,
    cache_when: Callable[[Any], bool] | None = None,
    estimate: Estimate | None = None,
    measure: Measure | None = None,
    stores: bool = False,
    operator: bool = False,
) -> Callable[[Callable[[Input, Context], Awaitable[Output] | Output]], Handler]:
    """Declare a task type; the function's annotations give its schemas (`msgspec.Struct`s).

    `run_seconds_max` is RUN_SECONDS_MAX unless given, or one attempt's time if that is longer.
    Raises `TypeError` at declaration when schemas are missing, `ValueError` for a number out of
    its bounds.
    """

    def declare(function: Callable[[Input, Context], Awaitable[Output] | Output]) -> Handler:
        hints = inspect.get_annotations(function, eval_str=True)
        parameters = list(inspect.signature(function).parameters)
        schemas = [hints.get(parameters[0]) if parameters else None, hints.get("return")]
        for schema in schemas:
            if not (isinstance(schema, type) and issubclass(schema, msgspec.Struct)):
                message = f"handler {name!r}: annotate input and result with msgspec Structs"
                raise TypeError(message)
        input_type, output_type = schemas
        return Handler(
            name=name,
            function=function,
            input_type=input_type,  # type: ignore[arg-type]
            output_type=output_type,  # type: ignore[arg-type]
            price_credits=price_credits,
            stages=dict(stages or {}),
            attempt_seconds_max=attempt_seconds_max,
            description=inspect.getdoc(function) or "",
            running_tasks_max=running_tasks_max,
            attempts_max=attempts_max,
            retry_seconds=retry_seconds,
            retry_seconds_max=retry_seconds_max,
            queue_seconds_max=queue_seconds_max,
            run_seconds_max=run_seconds_max or max(RUN_SECONDS_MAX, attempt_seconds_max),
            provider=provider,
            cache_seconds=cache_seconds,
            cache_key=cache_key,
            cache_scope=cache_scope,
            cache_price_percent=cache_price_percent,
            cache_version=cache_version,
            cache_when=cache_when,
            estimate=estimate,
            measure=measure,
            stores=stores,
            operator=operator,
        )

    return declare
