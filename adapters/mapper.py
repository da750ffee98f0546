"""Events to stored bytes and back: one C call each way, old versions upcast."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    Cipher,
    Compressor,
    Mapper,
    MapperDeserialisationError,
    StoredEvent,
    Transcoder,
)

from domain.catalogue import BY_STORED_TOPIC, stored_topic
from domain.event import Event
from domain.ledger_events import LedgerSnapshot, PeriodClosed

Decode = Callable[[bytes], Event]


class EventMapper(Mapper[UUID]):
    """The library's mapper for `domain` events, stored as JSON objects under versioned topics."""

    def __init__(
        self,
        transcoder: Transcoder | None = None,
        compressor: Compressor | None = None,
        cipher: Cipher | None = None,
    ) -> None:
        super().__init__(transcoder or NoTranscoder(), compressor, cipher)
        self._encode = msgspec.json.Encoder().encode
        self._decoders = _snapshot_decoders().copy()
        self._topics: dict[type[Event], str] = {}

    def encode(self, event: Event) -> tuple[str, bytes]:
        """Stored topic and bytes of an event.

        Reads them back first: raises `msgspec.ValidationError` for an event that breaks its own
        bounds, which could never be loaded again.
        """
        event_type = type(event)
        topic = self._topics.get(event_type)
        if topic is None:
            topic = self._topics[event_type] = stored_topic(event_type)
        state = self._encode(event)
        decode = self._decoders.get(topic) or self._decoder(topic)
        decode(state)
        if self.compressor:
            state = self.compressor.compress(state)
        if self.cipher:
            state = self.cipher.encrypt(state)
        return topic, state

    def decode(self, topic: str, state: bytes) -> Event:
        """Event of a stored topic and its bytes. Raises `MapperDeserialisationError`."""
        try:
            if self.cipher:
                state = self.cipher.decrypt(state)
            if self.compressor:
                state = self.compressor.decompress(state)
            decode = self._decoders.get(topic) or self._decoder(topic)
            return decode(state)
        except Exception as error:
            message = f"Cannot load a stored event with topic {topic!r}: {error}"
            raise MapperDeserialisationError(message) from error

    def to_stored_event(self, domain_event: Any) -> StoredEvent:  # noqa: ANN401 - the library's
        topic, state = self.encode(domain_event)
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=topic,
            state=state,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Any:  # noqa: ANN401 - the library's
        return self.decode(stored_event.topic, stored_event.state)

    def _decoder(self, topic: str) -> Decode:
        decode = self._decoders[topic] = _decoder_of(topic)
        return decode


def _decoder_of(topic: str) -> Decode:
    event_type, version = BY_STORED_TOPIC[topic]
    if version == event_type.VERSION:
        decode: Decode = msgspec.json.Decoder(event_type).decode
        return decode
    return _upcasting(event_type, version)


@cache
def _snapshot_decoders() -> dict[str, Decode]:
    """Of what whole ledgers load from: made before the first of them is waited for.

    They take longer to make than an account to load, and are the same in every mapper.
    """
    whole: tuple[type[Event], ...] = (LedgerSnapshot, PeriodClosed)
    return {topic: _decoder_of(topic) for topic in map(stored_topic, whole)}


def _upcasting(event_type: type[Event], version: int) -> Decode:
    steps = [event_type.UPCASTS[older] for older in range(version, event_type.VERSION)]
    decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    decode_current: Decode = msgspec.json.Decoder(event_type).decode
    encode = msgspec.json.Encoder().encode

    def decode(state: bytes) -> Event:
        for step in steps:
            state = encode(step(decode_fields(state)))
        return decode_current(state)

    return decode


class NoTranscoder(Transcoder):
    """Stands where the library wants a transcoder: `EventMapper` needs none."""

    def encode(self, obj: Any) -> bytes:  # noqa: ANN401 - the library's signature
        raise NotImplementedError

    def decode(self, data: bytes) -> Any:  # noqa: ANN401 - the library's signature
        raise NotImplementedError
