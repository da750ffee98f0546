"""The facts of what was published: prices and plans, by version, kept for ever."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Raw

from domain.event import Event, Name

PublicationKind = Literal["prices", "plans"]


class PricesPublished(Event, frozen=True, kw_only=True):
    """From here on tasks may be held for at these prices; `content` is the whole price list."""

    TOPIC: ClassVar[str] = "prices.published"

    version: Name
    content: Raw


class PlansPublished(Event, frozen=True, kw_only=True):
    """From here on accounts may be decided on by these plans; `content` are all of them."""

    TOPIC: ClassVar[str] = "plans.published"

    version: Name
    content: Raw


PublicationEvent = PricesPublished | PlansPublished
