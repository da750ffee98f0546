"""A live stream over all its connections, without any I/O: the sync and async clients share it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import msgspec
from msgspec.structs import replace

from tallystick import exchange
from tallystick.errors import ApiError, LimitReached, Unavailable, Unreachable, WaitTimeout
from tallystick.exchange import Call, RetryPolicy
from tallystick.models import Account, Progress, StreamEvent, Task

MEDIA = "text/event-stream"
SILENCE_SECONDS_MAX = 45.0
"""Without even a comment (every 15 s by default), the connection is taken for dead."""
EVENT_BYTES_MAX = 256 * 2**20
_PASSING = (Unreachable, Unavailable, LimitReached)


class _Wire(msgspec.Struct, frozen=True):
    """What the service sends as `data`: each event has some of these members."""

    position: int | None = None
    at: datetime | None = None
    task: Task | None = None
    account: Account | None = None
    data: dict[str, Any] | None = None
    id: str | None = None
    version: int | None = None


class Parser:
    """Bytes to server-sent events; what is not ended by a blank line has not come.

    `last_id` is that of the last event that came whole, to resume from.
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._rest = b""
        self._name, self._data, self._id = "", b"", last_id

    def cut(self) -> None:
        """The connection is gone: forget what came in part."""
        self._rest, self._name, self._data, self._id = b"", "", b"", self.last_id

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Name and data of each event that is whole now. Raises `Unreachable` for a giant one."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) + len(self._data) > EVENT_BYTES_MAX:
            raise Unreachable("One event of the stream has no end.", transient=False)
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))

    def _line(self, line: bytes) -> Iterator[tuple[str, bytes]]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            name, event = self._name, self._data
            self.last_id, self._name, self._data = self._id, "", b""
            if event:
                yield name, event
        elif field == b"event":
            self._name = value.decode()
        elif field == b"data":
            self._data += value
        elif field == b"id":
            self._id = value.decode()


class Following:
    """Where a stream is and what was last heard; `path` is the route's.

    With `to_end` it ends with the task, and the time being over raises `WaitTimeout`; without, it
    ends only with the time. None as `seconds` is for ever.
    """

    def __init__(
        self,
        path: str,
        seconds: float | None,
        retries: RetryPolicy,
        *,
        to_end: bool,
        after: int | None = None,
    ) -> None:
        self.ended = False
        self._path = path
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._retries = retries
        self._to_end = to_end
        self._parser = Parser(None if after is None else str(after))
        self._position = -1 if after is None else after
        self._task: Task | None = None
        self._begun = False
        self._failures = 0

    @property
    def left_seconds(self) -> float:
        """Until the next byte must have come."""
        if self._deadline is None:
            return SILENCE_SECONDS_MAX
        return max(0.001, min(SILENCE_SECONDS_MAX, self._deadline - time.monotonic()))

    def call(self) -> Call:
        """The request for what is still to come."""
        headers = {"Accept": f"{MEDIA}, application/problem+json"}
        if self._parser.last_id is not None:
            headers["Last-Event-ID"] = self._parser.last_id
        self._parser.cut()
        return Call(method="GET", path=self._path, headers=headers)

    def accept(self, response: httpx.Response) -> bool:
        """Whether the answer is the stream; False where there is nothing more to come.

        The body of an error has to be read already. Raises the typed `ApiError`, and `Unreachable`
        for an answer of something else.
        """
        if response.is_error:
            exchange.read(response, object)
        if response.status_code == httpx.codes.NO_CONTENT:
            self.ended = True
            return False
        media = response.headers.get("Content-Type", "").partition(";")[0]
        if response.status_code != httpx.codes.OK or media != MEDIA:
            answer = f"{response.status_code} from {response.url} is no stream of Tallystick"
            raise Unreachable(f"{answer}; is the address right?", transient=False)
        self._begun = True
        return True

    def heard(self, data: bytes) -> Iterator[StreamEvent]:
        """Events that came, each fact once. Raises `WaitTimeout`, `Unreachable`."""
        for name, content in self._parser.feed(data):
            event = self._event(name, content)
            if event is None:
                continue
            self._failures = 0
            yield event
            if self._to_end and name != "progress" and event.task and event.task.ended:
                self.ended = True
                return
        self._guard_time()

    def _event(self, name: str, content: bytes) -> StreamEvent | None:
        try:
            if name == "progress":
                return self._progress(content)
            wire = msgspec.json.decode(content, type=_Wire)
        except (msgspec.MsgspecError, UnicodeError) as error:
            sentence = f"The stream does not read like Tallystick: {error}"
            raise Unreachable(sentence, transient=False) from error
        if wire.position is None or wire.position <= self._position:
            return None
        self._position = wire.position
        self._task = wire.task if self._to_end else None
        others = {"id": wire.id, "version": wire.version} if wire.id else {}
        return StreamEvent(
            type=name,
            position=wire.position,
            at=wire.at,
            task=wire.task,
            account=wire.account,
            data=others if wire.data is None else wire.data,
        )

    def _progress(self, content: bytes) -> StreamEvent:
        """In the stream of a task, with the task as it was last told and this progress."""
        if self._task is not None:
            progress = msgspec.json.decode(content, type=Progress)
            self._task = replace(self._task, progress=progress)
        return StreamEvent(
            type="progress",
            task=self._task,
            data=msgspec.json.decode(content, type=dict[str, Any]),
        )

    def _guard_time(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        if self._to_end and self._task is not None:
            assert self._seconds is not None
            raise WaitTimeout(self._task, self._seconds)
        self.ended = not self._to_end

    def pause(self, error: ApiError | Unreachable | None) -> float:
        """Seconds before the next connection; `error` is what ended the last one.

        Raises it, or `WaitTimeout`, when there is not to be one. A stream that has begun goes on
        through trouble that may pass; one that ends in good form is connected again.
        """
        lost = error or Unreachable("The stream ended.", transient=True)
        seconds = self._pause(lost)
        if seconds is None:
            raise lost
        self._guard_time()
        if self._deadline is None or self.ended:
            return seconds
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise lost
        return min(seconds, left)

    def _pause(self, lost: ApiError | Unreachable) -> float | None:
        retry, self._failures = self._failures, self._failures + 1
        final = isinstance(lost, Unreachable) and not lost.transient
        if self._begun and isinstance(lost, _PASSING) and not final:
            last = max(0, self._retries.retries_max - 1)
            seconds = self._retries.pause(lost, min(retry, last))
            return self._retries.pause_seconds_max if seconds is None else seconds
        if isinstance(lost, LimitReached) and lost.code == "too_many_streams":
            return None
        return self._retries.pause(lost, retry)
