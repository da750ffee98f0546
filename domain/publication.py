"""What was published once, under a version that never stands for anything else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID, uuid5

import msgspec
from msgspec import Raw

from domain.errors import AlreadyExists
from domain.event import Event, Metadata
from domain.plan import PlanList
from domain.pricing import PriceList
from domain.publication_events import (
    PlansPublished,
    PricesPublished,
    PublicationEvent,
    PublicationKind,
)

_PUBLICATIONS = UUID("0d6b1c52-7e0f-5b5d-8f9e-2a4f3c1d9b60")
_EVENTS: Mapping[PublicationKind, type[PricesPublished | PlansPublished]] = MappingProxyType(
    {"prices": PricesPublished, "plans": PlansPublished}
)
_CONTENTS: Mapping[PublicationKind, type[msgspec.Struct]] = MappingProxyType(
    {"prices": PriceList, "plans": PlanList}
)


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the prices or the plans; `content` is a JSON object."""

    id: UUID
    version: int
    kind: PublicationKind
    name: str
    content: Raw
    created_at: datetime


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """`content` is a price list or a list of plans, as JSON."""

    kind: PublicationKind
    name: str
    content: Raw


def publication_id(kind: PublicationKind, name: str) -> UUID:
    """The one stream of a version, the same in every installation."""
    return uuid5(_PUBLICATIONS, f"{kind}:{name}")


def decide(
    publication: Publication | None, command: Publish, meta: Metadata
) -> tuple[PublicationEvent, ...]:
    """The publication; none where the version is published with this very content.

    Raises `AlreadyExists` where it is published with another one.
    """
    if publication is None:
        return (
            _EVENTS[command.kind](
                originator_id=publication_id(command.kind, command.name),
                originator_version=1,
                meta=meta,
                version=command.name,
                content=command.content,
            ),
        )
    if _told(command.kind, publication.content) != _told(command.kind, command.content):
        raise AlreadyExists(
            f"Version {command.name!r} of the {command.kind} is published with other content."
        )
    return ()


def _told(kind: PublicationKind, content: Raw) -> object:
    """As it counts: 0.50 is 0.5, and a default that is written down is none the less one."""
    try:
        value: object = msgspec.json.decode(content, type=_CONTENTS[kind])
    except msgspec.ValidationError:
        # By a later release, with what this one does not know: another content.
        return content
    return value


def evolve(publication: Publication | None, event: Event) -> Publication:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if not isinstance(event, PricesPublished | PlansPublished):
        raise TypeError(f"{type(event).__name__} is not an event of a publication")
    return Publication(
        id=event.originator_id,
        version=event.originator_version,
        kind="prices" if isinstance(event, PricesPublished) else "plans",
        name=event.version,
        content=event.content,
        created_at=event.meta.at if publication is None else publication.created_at,
    )
