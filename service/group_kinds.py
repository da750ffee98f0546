"""Kinds of groups that are started by one input, and how each makes members of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from domain.errors import InvalidInput
from service.task_types import invalid_form


class MemberSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """A member as it is asked for: `input` is a JSON object of the task type's form."""

    type: str
    input: Raw


class GroupKind(msgspec.Struct, frozen=True, kw_only=True):
    """`expand(input)` gives the members in the order in which they start; it does no I/O."""

    name: str
    input_type: type[msgspec.Struct]
    expand: Callable[[Any], Sequence[MemberSubmission]]


class GroupKinds:
    """Kinds by name. Raises `ValueError` at construction when two have the same name."""

    def __init__(self, kinds: Iterable[GroupKind]) -> None:
        self._kinds: dict[str, GroupKind] = {}
        for kind in kinds:
            if kind.name in self._kinds:
                raise ValueError(f"two kinds of groups are named {kind.name!r}")
            self._kinds[kind.name] = kind

    def __iter__(self) -> Iterator[GroupKind]:
        return iter(self._kinds.values())

    def expand(self, name: str, data: Raw) -> tuple[MemberSubmission, ...]:
        """The members that an input stands for. Raises `InvalidInput`."""
        kind = self._kinds.get(name)
        if kind is None:
            sentence = "is not a kind that makes members of an input: give `members`"
            raise InvalidInput("The kind is unknown.", ("/kind", sentence))
        try:
            given = msgspec.json.decode(data, type=kind.input_type)
        except msgspec.ValidationError as error:
            raise invalid_form(error, "The input does not fit the kind.") from error
        return tuple(kind.expand(given))
