"""What a decision came to, in one word that a plain model can say too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from domain.errors import DomainError, LimitReached
from domain.event import Event


def tried(decide: Callable[[], Sequence[Event]]) -> tuple[Sequence[Event], str]:
    """Events, and `ok`, `quiet` or the refusal's code (with the limit's name)."""
    try:
        events = decide()
    except LimitReached as refusal:
        return (), f"{refusal.code} {refusal.limit}"
    except DomainError as refusal:
        return (), refusal.code
    return events, "ok" if events else "quiet"
