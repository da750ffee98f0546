"""What is in force is published to the log, so that each charge can be explained for ever."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from adapters.decision import States
from adapters.documents import Documents
from domain import publication
from domain.aggregate import PUBLICATIONS, Stream
from domain.errors import AlreadyExists
from domain.event import Event, Metadata
from domain.plan import Plans
from domain.pricing import PriceList
from domain.publication import Publication, Publish, publication_id
from domain.publication_events import PublicationKind
from service.command import Origin
from service.command_bus import CommandBus
from service.settings import BadSetting, variable_of

_FIELDS: dict[PublicationKind, str] = {"prices": "prices_file", "plans": "plans_file"}
_decode = msgspec.json.Decoder(Publication).decode


class PublishedPrices:
    """`(version)` reads a price list that was published; None where none was."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def __call__(self, version: str) -> PriceList | None:
        """Raises `Unavailable`."""
        stream_id = publication_id("prices", version)
        found = await self._documents.document(PUBLICATIONS.name, stream_id)
        if found is None:
            return None
        return msgspec.json.decode(_decode(found.data).content, type=PriceList)


class Publications:
    """Each version once, however many processes start with it at one time."""

    def __init__(self, bus: CommandBus) -> None:
        self._bus = bus

    async def publish_prices(self, prices: PriceList) -> None:
        """Raises `BadSetting` where the version stands for other prices already."""
        await self._publish("prices", prices.version, prices)

    async def publish_plans(self, plans: Plans) -> None:
        """Raises `BadSetting` where the version stands for other plans already."""
        await self._publish("plans", plans.version, plans.content)

    async def _publish(self, kind: PublicationKind, version: str, content: msgspec.Struct) -> None:
        canonical = Raw(msgspec.json.encode(content, order="deterministic"))
        command = Publish(kind=kind, name=version, content=canonical)
        stream = Stream(PUBLICATIONS, publication_id(kind, version))

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            return publication.decide(states[stream.id], command, meta)

        try:
            await self._bus.execute(decide, Origin(actor="start"), streams=(stream,))
        except AlreadyExists as refusal:
            raise BadSetting(variable_of(_FIELDS[kind]), f"{refusal} Give it a new one.") from None
