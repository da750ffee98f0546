"""What is sent and what the answers mean, without any I/O: the sync and async clients share it."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import msgspec

from tallystick.errors import (
    ApiError,
    InvalidArgument,
    LimitReached,
    Unavailable,
    Unreachable,
    error_of,
)
from tallystick.handler import FailureType
from tallystick.models import Page, Priority, TaskStatus

WAIT_SECONDS_MAX = 60
"""Longest that the service holds an answer back, waiting for a task to end."""
RETRIES_MAX = 1_000
"""Most tasks of one retry in bulk."""
USER_AGENT = "tallystick-python"

T = TypeVar("T")
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_KEY = re.compile(r"[!#-\[\]-~]{1,255}")
_SECRET = re.compile(r"[!-~]+")


class Address(msgspec.Struct, frozen=True):
    """Where the service is and the key to ask it with; checked, so that no call fails on them."""

    url: str
    api_key: str

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InvalidArgument(f"{self.url!r} is no URL: {error}") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise InvalidArgument(f"{self.url!r} is no address like http://127.0.0.1:8000")
        if not _SECRET.fullmatch(self.api_key):
            raise InvalidArgument("the API key is empty, or holds characters that no key has")

    @classmethod
    def found(cls, url: str | None, api_key: str | None) -> Address:
        """What is None comes from TALLYSTICK_URL, TALLYSTICK_API_KEY. Raises `InvalidArgument`."""
        url = url or os.environ.get("TALLYSTICK_URL")
        api_key = api_key or os.environ.get("TALLYSTICK_API_KEY")
        if not url or not api_key:
            raise InvalidArgument(
                "give url and api_key, or set TALLYSTICK_URL and TALLYSTICK_API_KEY"
            )
        return cls(url, api_key)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.api_key}",
            "Accept": "application/json, application/problem+json",
            "User-Agent": USER_AGENT,
        }

    @property
    def direct(self) -> dict[str, None]:
        """Hosts that are reached without the proxy of the environment: this machine's own."""
        return {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a call is repeated after a transient failure, always with the same Idempotency-Key.

    At most `retries_max` times, with pauses that double from `pause_seconds` to
    `pause_seconds_max`, half of each by chance. The service's Retry-After goes before; one longer
    than `retry_after_seconds_max` is not waited for but raised, and so is a limit that time alone
    does not lift.
    """

    retries_max: int = 4
    pause_seconds: float = 0.25
    pause_seconds_max: float = 5.0
    retry_after_seconds_max: float = 30.0

    def pause(self, error: Exception, retry: int) -> float | None:
        """Seconds before retry number `retry` (from 0); None when the error is to be raised."""
        if retry >= self.retries_max or not _is_transient(error):
            return None
        asked = error.retry_after if isinstance(error, ApiError) else None
        if asked is not None:
            return asked if asked <= self.retry_after_seconds_max else None
        full = min(self.pause_seconds * 2.0**retry, self.pause_seconds_max)
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, hides nothing


def _is_transient(error: Exception) -> bool:
    if isinstance(error, ApiError):
        in_flight = error.code == "idempotency_key_in_flight"
        for_ever = error.code == "limit_reached" and error.retry_after is None
        passing = isinstance(error, LimitReached | Unavailable) and not for_ever
        return in_flight or passing
    return isinstance(error, Unreachable) and error.transient


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `wait_seconds` is how long the service may hold its answer back."""

    method: str
    path: str
    query: Mapping[str, str | Sequence[str]] = {}
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    wait_seconds: int = 0


def get(
    path: str, query: Mapping[str, str | Sequence[str]] | None = None, wait_seconds: int = 0
) -> Call:
    """A read."""
    headers = _prefer(wait_seconds)
    return Call(
        method="GET", path=path, query=query or {}, headers=headers, wait_seconds=wait_seconds
    )


def post(path: str, body: object, *, key: str | None, wait_seconds: int = 0) -> Call:
    """A command, safe to send again: it carries `key`, or a new one, as Idempotency-Key.

    Raises `InvalidArgument` for a key that is not 1 to 255 printable ASCII characters, without
    quotes, and for a body that JSON cannot hold.
    """
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidArgument("an idempotency key is 1 to 255 printable ASCII characters")
    headers = {
        "Idempotency-Key": f'"{key or uuid4()}"',
        "Content-Type": "application/json",
        **_prefer(wait_seconds),
    }
    return Call(
        method="POST",
        path=path,
        headers=headers,
        body=_json(body),
        wait_seconds=wait_seconds,
    )


def _json(body: object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"this cannot be sent as JSON: {error}") from error


def _prefer(wait_seconds: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}


def submission(
    type_: str,
    input_: Mapping[str, Any] | msgspec.Struct,
    priority: Priority,
    project: str | None,
    not_before: datetime | None,
    *,
    cache: bool = True,
) -> dict[str, object]:
    """Body of a submission. Raises `InvalidArgument` for a `not_before` without its time zone."""
    body: dict[str, object] = {"type": type_, "input": input_, "priority": priority}
    if project is not None:
        body["project"] = project
    if not_before is not None:
        body["not_before"] = _with_zone("not_before", not_before)
    if not cache:
        body["cache"] = False
    return body


def filters(
    status: Sequence[TaskStatus],
    type_: str | None,
    project: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> dict[str, str | Sequence[str]]:
    """Query of a list of tasks. Raises `InvalidArgument` for a time without its time zone."""
    query: dict[str, str | Sequence[str] | None] = {
        "status": list(status) or None,
        "type": type_,
        "project": project,
    }
    return {
        **{name: value for name, value in query.items() if value is not None},
        **times(created_after=created_after, created_before=created_before),
    }


def retries(
    tasks: Sequence[str],
    type_: Sequence[str],
    project: str | None,
    failure_type: Sequence[FailureType],
    failed_after: datetime | None,
    failed_before: datetime | None,
    tasks_max: int,
    *,
    preview: bool,
) -> dict[str, object]:
    """Body of a retry in bulk. Raises `InvalidArgument` for both tasks and conditions."""
    conditions = {
        "type": list(type_),
        "project": project,
        "failure_type": list(failure_type),
        **times(failed_after=failed_after, failed_before=failed_before),
    }
    wanted = {name: value for name, value in conditions.items() if value}
    if tasks and wanted:
        raise InvalidArgument("name the tasks, or give conditions, not both")
    which = {"tasks": list(tasks)} if tasks else {"filter": wanted}
    return {**which, "tasks_max": tasks_max, "preview": preview}


def as_of(at: int | datetime | None) -> dict[str, str | Sequence[str]]:
    """Query for a version or a time. Raises `InvalidArgument` for one without a zone."""
    if isinstance(at, int):
        return {"at": str(at)}
    return times(at=at)


def period_query(
    period: str | None, since: datetime | None, until: datetime | None
) -> dict[str, str | Sequence[str]]:
    """Query for a month (`2026-11`, UTC), or `since` <= time < `until`. Raises the same."""
    month: dict[str, str | Sequence[str]] = {} if period is None else {"period": period}
    return {**month, **times(since=since, until=until)}


def times(**given: datetime | None) -> dict[str, str | Sequence[str]]:
    """The times that are given, as query. Raises `InvalidArgument` for one without a zone."""
    return {name: _with_zone(name, time).isoformat() for name, time in given.items() if time}


def page_query(
    query: Mapping[str, str | Sequence[str]], cursor: str | None
) -> Mapping[str, str | Sequence[str]]:
    """The same query for the page that begins at `cursor`."""
    return query if cursor is None else {**query, "cursor": cursor}


def items(page: Page, type_: type[T]) -> list[T]:
    """Raises `Unreachable` for items that are not of that type."""
    try:
        return [msgspec.json.decode(item, type=type_) for item in page.items]
    except msgspec.MsgspecError as error:
        raise Unreachable(
            f"The answer does not read like Tallystick: {error}", transient=False
        ) from error


def _with_zone(name: str, time: datetime) -> datetime:
    if time.tzinfo is None:
        raise InvalidArgument(f"{name} needs a time zone, such as datetime.UTC")
    return time


def task_path(task_id: str, verb: str = "") -> str:
    """Raises `InvalidArgument` for what cannot be a task's id, and might lead to another route."""
    if not _ID.fullmatch(task_id):
        raise InvalidArgument(f"{task_id!r} is no task id: they look like task_0192f…")
    return f"/v1/tasks/{task_id}" + (f"/{verb}" if verb else "")


def resource_path(collection: str, resource_id: str, verb: str = "") -> str:
    """Raises `InvalidArgument` for what cannot be an id, and might lead to another route."""
    if not _ID.fullmatch(resource_id):
        raise InvalidArgument(f"{resource_id!r} is no id")
    return f"{collection}/{resource_id}" + (f"/{verb}" if verb else "")


def read(response: httpx.Response, type_: type[T]) -> T:
    """The answer's body. Raises the typed `ApiError`, or `Unreachable` if it cannot be read."""
    refuse(response)
    try:
        return msgspec.json.decode(response.content, type=type_)
    except (msgspec.MsgspecError, UnicodeError) as error:
        answer = f"{response.status_code} from {response.url} does not read like Tallystick"
        raise Unreachable(f"{answer}; is the address right?", transient=False) from error


def refuse(response: httpx.Response) -> None:
    """Raises the typed `ApiError` that an answer is; its body has to be read."""
    if response.status_code >= httpx.codes.BAD_REQUEST:
        seconds = _retry_after(response.headers.get("Retry-After"))
        raise error_of(response.status_code, response.content, seconds)


def unreachable(url: str, error: httpx.HTTPError | TimeoutError) -> Unreachable:
    """No answer came from `url`, which leaves open whether the request did."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"{url} does not answer: {reason}", transient=True)


def _retry_after(value: str | None) -> float | None:
    """Seconds; our service sends no dates, and another one's date is taken as not told."""
    return float(value) if value is not None and value.strip().isdecimal() else None
