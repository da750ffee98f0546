"""Ids: UUIDv7 inside, prefixed outside (`task_…`), so that none is taken for another kind's."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from domain.errors import NotFound

Prefix = Literal["task", "group", "acct", "key", "hold", "grant", "sched"]
_NOUNS: dict[Prefix, str] = {
    "task": "task",
    "group": "group",
    "acct": "account",
    "key": "key",
    "hold": "hold",
    "grant": "grant",
    "sched": "schedule",
}


def new_id() -> UUID:
    """A UUIDv7: sorts by the time it was made."""
    return uuid7()


def public_id(prefix: Prefix, value: UUID) -> str:
    return f"{prefix}_{value.hex}"


def parse_id(prefix: Prefix, text: str) -> UUID:
    """Id behind its public form. Raises `NotFound`: what is no such id names nothing."""
    head, _, digits = text.partition("_")
    if head == prefix and len(digits) == 32:  # noqa: PLR2004 - hex digits of a UUID
        try:
            return UUID(hex=digits)
        except ValueError:
            pass
    raise NotFound(f"There is no {_NOUNS[prefix]} {text[:64]!r}.")
