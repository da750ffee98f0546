"""The registry of task types: the shipped ones, and those that other packages bring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec
from msgspec import Raw

from domain.errors import InvalidInput, UnknownTaskType
from domain.retry import RetryPolicy
from service.settings import BadSetting, variable_of
from tallystick.handler import Handler, Provider

ENTRY_POINT_GROUP = "tallystick.handlers"
INPUT_BYTES_MAX = 64 * 1024
"""Largest input of a task, as JSON."""


class TaskTypes:
    """Handlers by name.

    Raises `ValueError` at construction when two have the same name, or two name a provider with
    different limits.
    """

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._handlers: dict[str, Handler] = {}
        self._providers: dict[str, Provider] = {}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        for handler in handlers:
            if handler.name in self._handlers:
                raise ValueError(f"two handlers are named {handler.name!r}")
            self._handlers[handler.name] = handler
            self._take_provider(handler.provider)
            self._decoders[handler.name] = msgspec.json.Decoder(handler.input_type)

    def _take_provider(self, provider: Provider | None) -> None:
        if provider is None:
            return
        if self._providers.setdefault(provider.name, provider) != provider:
            raise ValueError(f"two handlers give {provider.name!r} different limits")

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._handlers)

    @property
    def limited(self) -> bool:
        """Whether of some type only so many may run at one time."""
        return any(h.running_tasks_max is not None or h.provider is not None for h in self)

    @property
    def providers(self) -> tuple[Provider, ...]:
        return tuple(self._providers.values())

    @property
    def provider_names(self) -> dict[str, str]:
        """The provider's name of each type that has one."""
        return {h.name: h.provider.name for h in self if h.provider is not None}

    def named(self, name: str) -> Handler:
        """Raises `UnknownTaskType`."""
        try:
            return self._handlers[name]
        except KeyError:
            raise UnknownTaskType(name) from None

    def running_tasks_max(self, name: str) -> int | None:
        """Most tasks of a type that may run at one time over all workers; None is no limit."""
        handler = self._handlers.get(name)
        return None if handler is None else handler.running_tasks_max

    def retry_policy(self, name: str) -> RetryPolicy:
        """Pauses between the attempts of a type; the standard ones for a type unknown here."""
        handler = self._handlers.get(name)
        if handler is None:
            return RetryPolicy()
        return RetryPolicy(
            first_seconds=handler.retry_seconds,
            seconds_max=handler.retry_seconds_max,
        )

    def read_input(self, name: str, data: Raw) -> msgspec.Struct:
        """Input of a task, checked against its type's schema.

        Raises `UnknownTaskType`, `InvalidInput`.
        """
        self.named(name)
        if len(bytes(data)) > INPUT_BYTES_MAX:
            detail = f"must be at most {INPUT_BYTES_MAX} bytes of JSON"
            raise InvalidInput("The input is too large.", ("/input", detail))
        try:
            decoded: msgspec.Struct = self._decoders[name].decode(data)
        except msgspec.ValidationError as error:
            raise invalid_form(error, "The input does not fit the task type.") from error
        return decoded


def invalid_form(error: msgspec.ValidationError, detail: str) -> InvalidInput:
    """The refusal of an `input` that is not of the form asked for."""
    sentence, pointer = _pointer(str(error))
    return InvalidInput(detail, ("/input" + pointer, sentence))


def _pointer(message: str) -> tuple[str, str]:
    """The sentence of msgspec's error and, as a JSON pointer, the `$.a[0].b` path at its end."""
    sentence, _, path = message.partition(" - at `$")
    steps = path.rstrip("`").replace("[", ".").replace("]", "").split(".")
    return sentence, "".join(f"/{step}" for step in steps if step)


def discover(modules: Iterable[str] = ()) -> list[Handler]:
    """Handlers of installed packages (entry points) and of `modules` (`package.module:name`)."""
    found = [_handlers(point.load()) for point in _installed()]
    found += [_configured(path) for path in modules]
    return [handler for handlers in found for handler in handlers]


@cache
def _installed() -> tuple[EntryPoint, ...]:
    """Read once a process: looking at each installed package takes 12 ms."""
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def _configured(path: str) -> list[Handler]:
    """Handlers that the setting names. Raises `BadSetting` when it leads to none."""
    module, _, attribute = path.partition(":")
    try:
        return _handlers(getattr(import_module(module), attribute))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        reason = f"{path!r} does not lead to handlers: {error}"
        raise BadSetting(variable_of("handlers"), reason) from error


def _handlers(value: object) -> list[Handler]:
    handlers = [value] if isinstance(value, Handler) else list(value)  # type: ignore[call-overload]
    for handler in handlers:
        if not isinstance(handler, Handler):
            raise TypeError(f"{handler!r} is not a handler: declare it with @handler")
    return handlers
