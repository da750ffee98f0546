"""At submission: which tasks need no work, because a result of the same content is young enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import structlog
from msgspec.structs import replace

from adapters.reusable_results import FOUND_BYTES_MAX, Reusable, ReusableResults
from domain.task import ReuseResult, SubmitTask
from service.task_types import TaskTypes
from tallystick.handler import Handler

_log = structlog.get_logger(__name__)


class Submittal(msgspec.Struct, frozen=True, kw_only=True):
    """A task to submit, and with `reuse` what completes it in the same append.

    `command.credits` is what it costs then. It gives up its content key, so that nobody takes over
    what was taken over: a result's age counts from the task that came to it.
    """

    command: SubmitTask
    reuse: ReuseResult | None = None


class ResultReuse:
    """Without `results`, nothing is reused."""

    def __init__(self, types: TaskTypes, results: ReusableResults | None) -> None:
        self._types = types
        self._results = results

    async def submittals(self, asked: Sequence[tuple[SubmitTask, bool]]) -> list[Submittal]:
        """How each is to be submitted, after one look for all that may reuse a result.

        May, by its user's word (the flag); one that waits for a time of its own is worked on then.
        Asks nobody where nothing can be reused. Raises `Unavailable`.
        """
        if self._results is None or all(command.content_key is None for command, _ in asked):
            return [Submittal(command=command) for command, _ in asked]
        wanted = [self._wanted_seconds(command) if may else None for command, may in asked]
        seconds = {
            command.content_key: age
            for (command, _), age in zip(asked, wanted, strict=True)
            if command.content_key is not None and age is not None
        }
        if not seconds:
            return [Submittal(command=command) for command, _ in asked]
        found = await self._results.newest(seconds)
        taking = _Taking(self._types, found)
        return [
            Submittal(command=command) if age is None else taking.submittal(command)
            for (command, _), age in zip(asked, wanted, strict=True)
        ]

    def _wanted_seconds(self, command: SubmitTask) -> float | None:
        """How old a result may be; None where none is wanted."""
        if command.content_key is None or command.not_before is not None:
            return None
        return self._types.named(command.type).cache_seconds


class _Taking:
    """Gives out what was found, while all together stay within what one look brings."""

    def __init__(self, types: TaskTypes, found: Mapping[str, Reusable]) -> None:
        self._types = types
        self._found = found
        self._worthy: dict[str, bool] = {}
        self._bytes_left = FOUND_BYTES_MAX

    def submittal(self, command: SubmitTask) -> Submittal:
        handler, key = self._types.named(command.type), command.content_key
        assert key is not None
        found = self._found.get(key)
        if found is None or not self._is_worthy(handler, key, found) or not self._take(found):
            return Submittal(command=command)
        return Submittal(
            command=replace(
                command, credits=handler.cache_price_of(command.credits), content_key=None
            ),
            reuse=ReuseResult(origin_id=found.task_id, result=found.result),
        )

    def _is_worthy(self, handler: Handler, key: str, found: Reusable) -> bool:
        if key not in self._worthy:
            self._worthy[key] = _worthy(handler, found)
        return self._worthy[key]

    def _take(self, found: Reusable) -> bool:
        """Whether one more copy fits; takes it."""
        size = len(bytes(found.result))
        if size > self._bytes_left:
            return False
        self._bytes_left -= size
        return True


def _worthy(handler: Handler, found: Reusable) -> bool:
    """Whether the result has the form of its type today, and the type holds it worth taking over.

    Else the task is worked on: a result that fits no more is no result.
    """
    try:
        result = msgspec.json.decode(found.result, type=handler.output_type)
        return handler.cache_when is None or bool(handler.cache_when(result))
    except Exception as error:  # noqa: BLE001 - an owner's function, or its type, may raise anything
        _log.warning(
            "cached_result.unfit",
            type=handler.name,
            task_id=str(found.task_id),
            error=type(error).__name__,
        )
        return False
